# Only the files that are fuzzed.
cw_fuzz(recovery_texts
  SOURCES
    recovery_texts_fuzz.cc ${CMAKE_SOURCE_DIR}/recovery/gc_memory.cc ${CMAKE_SOURCE_DIR}/recovery/time_text.cc
  DEPENDS vault blob base)
