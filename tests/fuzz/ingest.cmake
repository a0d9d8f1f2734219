cw_fuzz(frame SOURCES frame_fuzz.cc DEPENDS wire pipeline base)
cw_fuzz(http_head SOURCES http_head_fuzz.cc DEPENDS ingest wire pipeline base)
cw_fuzz(extent_table SOURCES extent_table_fuzz.cc DEPENDS pipeline base)
cw_fuzz(session SOURCES session_fuzz.cc DEPENDS ingest wire pipeline base)
