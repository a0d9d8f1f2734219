// Where decorated parts are put between a process and its seams. Without a mutant each function
// hands back the plain part.
#pragma once

#include "base/random.h"
#include "cache/spool.h"
#include "egress/upload/ports.h"
#include "pipeline/stage.h"
#include "tests/fakes/sim_disk.h"
#include "tests/sim/mutants.h"

#include <memory>

namespace cw::sim {

class World;
struct ServerState;

std::unique_ptr<Random> make_process_random(World& world, ServerState& state);
// Of one start of an agent. Null: the machine's own does.
std::unique_ptr<Random> make_agent_random(const World& world, Random& own);
// What the wraps of the vault's key draw their nonces from.
Random& kek_random(Mutant mutant, Random& own);
// Before it goes to the engine.
void spoil_open(const World& world, upload::OpenCommand& open);
// Before an agent hears it.
void spoil_answer(const World& world, pipeline::MachineOpened& opened);
std::unique_ptr<Disk> make_server_disk(World& world, fakes::SimStorage& storage,
                                       const bool& starting);
// Shown to the oracle, too.
std::unique_ptr<cache::Spool> wrap_spool(World& world, std::size_t server,
                                         std::unique_ptr<cache::Spool> spool);

// Null: the plain stage does.
std::unique_ptr<pipeline::Stage> wrap_stage(const World& world, pipeline::Stage& stage);
// Null: the plain reader does.
std::unique_ptr<upload::RecordReader> wrap_reader(World& world, upload::RecordReader& reader);

}  // namespace cw::sim
