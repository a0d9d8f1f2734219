cw_fuzz(vault_keys SOURCES vault_keys_fuzz.cc DEPENDS vault fakes blob base)
cw_fuzz(vault_manifest SOURCES vault_manifest_fuzz.cc DEPENDS vault blob base)
cw_fuzz(vault_names SOURCES vault_names_fuzz.cc DEPENDS vault blob base)
cw_fuzz(vault_segment SOURCES vault_segment_fuzz.cc DEPENDS vault blob base)
