cw_fuzz(config SOURCES config_fuzz.cc DEPENDS config base)
