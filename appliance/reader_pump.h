// ReaderPump: the engine's RecordReader over the cache's SpoolReader, as a stage of the assembly
// thread, so that finished reads wake it.
#pragma once

#include "cache/spool.h"
#include "egress/upload/ports.h"
#include "pipeline/stage.h"

namespace cw::appliance {

class ReaderPump final : public upload::RecordReader, public pipeline::Stage {
public:
    // Both outlive the pump and belong to the assembly thread.
    ReaderPump(cache::SpoolReader& reader, Disk& disk) : reader_(reader), disk_(disk) {}

    void read(pipeline::Lsn lsn, pipeline::Record& record,
              std::function<void(Result<void>)> done) override {
        reader_.read(lsn, record, std::move(done));
    }
    std::size_t poll() override { return reader_.poll(); }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return reader_.in_flight(); }

    pipeline::Progress step(std::size_t) override {
        // A disk without an event descriptor works inside poll(): keep calling while it has to.
        const bool moved = reader_.poll() > 0;
        return moved || (disk_.event_fd() < 0 && reader_.in_flight() > 0)
                   ? pipeline::Progress::worked
                   : pipeline::Progress::starved;
    }
    [[nodiscard]] int event_fd() const override { return disk_.event_fd(); }
    [[nodiscard]] std::string_view name() const noexcept override { return "readback"; }

private:
    cache::SpoolReader& reader_;
    Disk& disk_;
};

}  // namespace cw::appliance
