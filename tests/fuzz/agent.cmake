cw_fuzz(nbd SOURCES nbd_fuzz.cc DEPENDS agent)
