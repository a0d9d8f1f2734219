# Only the files that are fuzzed: the whole room is much to build, and nothing here starts an agent.
set(agent ${CMAKE_SOURCE_DIR}/agent)
cw_fuzz(nbd SOURCES nbd_fuzz.cc ${agent}/nbd/nbd_protocol.cc DEPENDS base)
cw_fuzz(barrier SOURCES barrier_fuzz.cc ${agent}/group/barrier_message.cc ${agent}/group/group_member.cc DEPENDS base)
cw_fuzz(qmp SOURCES qmp_fuzz.cc ${agent}/qemu/qmp_message.cc DEPENDS base)
cw_fuzz(agent_files
  SOURCES
    agent_files_fuzz.cc ${agent}/stream/digest_table.cc ${agent}/stream/dirty_map.cc
    ${agent}/stream/range_set.cc ${agent}/state_file.cc ${agent}/state_format.cc
  DEPENDS wire pipeline base fakes_disk)
cw_fuzz(hrl
  SOURCES
    hrl_fuzz.cc ${agent}/hrl/hrl_format.cc ${agent}/hrl/hrl_reader.cc ${agent}/hrl/hrl_writer.cc
  DEPENDS base fakes_disk)
cw_fuzz(seed SOURCES seed_fuzz.cc ${agent}/seed/seed_manifest.cc DEPENDS base fakes_disk)
cw_fuzz(block_trace SOURCES block_trace_fuzz.cc ${agent}/hints/block_trace.cc DEPENDS base)
cw_fuzz(qemu_image_info
  SOURCES qemu_image_info_fuzz.cc ${agent}/qemu/qemu_image_info.cc
  DEPENDS base)
