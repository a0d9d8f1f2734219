// Feed: the hand-over from the cache to the engine, where bugs of the assembler are planted. In
// between two rings, so that a record can be held back or changed.
#pragma once

#include "pipeline/record.h"
#include "pipeline/ring.h"
#include "pipeline/stage.h"
#include "tests/sim/mutants.h"

#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace cw::sim {

class Feed final : public pipeline::Stage {
public:
    Feed(pipeline::Ring<pipeline::StoredRecord>& in, pipeline::Ring<pipeline::StoredRecord>& out,
         std::function<void()> wake, Mutant mutant)
        : in_(in), out_(out), wake_(std::move(wake)), mutant_(mutant) {}
    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] std::string_view name() const noexcept override { return "feed"; }
    [[nodiscard]] std::size_t slabs_kept() const noexcept { return kept_.size(); }

    // Whether this mutant needs a feed at all.
    static bool needed(Mutant mutant) noexcept;

private:
    struct Beneath {  // A piece of BASE that newer writes are to lose against.
        std::uint64_t offset;
        ByteVector bytes;
    };
    bool change(pipeline::StoredRecord& stored);
    static void include(pipeline::Record& barrier, const pipeline::RecordHeader& write);
    void lay_base_over(pipeline::Record& record);

    pipeline::Ring<pipeline::StoredRecord>& in_;
    pipeline::Ring<pipeline::StoredRecord>& out_;
    std::function<void()> wake_;
    Mutant mutant_;
    std::optional<pipeline::StoredRecord> held_, delayed_;
    std::map<DiskId, std::vector<Beneath>> base_;
    std::vector<pipeline::Slab> kept_;
};

}  // namespace cw::sim
