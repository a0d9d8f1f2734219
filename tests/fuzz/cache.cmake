cw_fuzz(spool SOURCES spool_fuzz.cc DEPENDS cache pipeline base fakes_disk)
cw_fuzz(spool_formats SOURCES spool_formats_fuzz.cc DEPENDS cache pipeline base fakes_disk)
cw_fuzz(spool_life SOURCES spool_life_fuzz.cc DEPENDS cache pipeline base fakes_disk)
