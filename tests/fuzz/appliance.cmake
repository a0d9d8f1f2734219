# Only the files that are fuzzed: the whole room is everything there is.
set(appliance ${CMAKE_SOURCE_DIR}/appliance)
cw_fuzz(records
  SOURCES
    records_fuzz.cc ${appliance}/operator/machine_state.cc ${appliance}/operator/machine_state_format.cc
    ${appliance}/operator/signed_record.cc ${appliance}/server_state.cc
  DEPENDS vault blob base fakes_disk)
