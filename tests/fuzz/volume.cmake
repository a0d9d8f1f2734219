cw_fuzz(volume_files SOURCES volume_files_fuzz.cc DEPENDS volume pipeline base fakes_disk)
