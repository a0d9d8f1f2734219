cw_fuzz(nbd SOURCES nbd_fuzz.cc DEPENDS agent)
cw_fuzz(qmp SOURCES qmp_fuzz.cc DEPENDS agent)
