# Only the files that are fuzzed: the whole room is everything there is.
set(appliance ${CMAKE_SOURCE_DIR}/appliance)
cw_fuzz(records
  SOURCES
    records_fuzz.cc ${appliance}/operator/machine_state.cc ${appliance}/operator/machine_state_format.cc
    ${appliance}/operator/returned_disks.cc ${appliance}/operator/signed_record.cc
    ${appliance}/server_state.cc
  DEPENDS vault fakes blob base fakes_disk)
cw_fuzz(enrolment
  SOURCES enrolment_fuzz.cc ${appliance}/enrolment/token_book_format.cc
  DEPENDS wire base)
cw_fuzz(plan
  SOURCES plan_fuzz.cc ${appliance}/operator/plan_file.cc
  DEPENDS config vault blob base
  LINK tomlplusplus::tomlplusplus)
cw_fuzz(events SOURCES events_fuzz.cc ${appliance}/event_line.cc DEPENDS base)
cw_fuzz(failback_hint
  SOURCES
    failback_hint_fuzz.cc ${appliance}/operator/failback_hint.cc
    ${CMAKE_SOURCE_DIR}/recovery/failback_hint.cc
  DEPENDS pipeline base)
cw_fuzz(partition_table
  SOURCES partition_table_fuzz.cc ${appliance}/operator/partition_table.cc
  DEPENDS base)
