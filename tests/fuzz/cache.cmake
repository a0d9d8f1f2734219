cw_fuzz(spool SOURCES spool_fuzz.cc DEPENDS cache pipeline base fakes_disk)
