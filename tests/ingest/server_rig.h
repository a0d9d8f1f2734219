// A whole ingest server on loopback with a model of what lies behind it: a control that opens every
// machine and a spool that calls everything durable.
#pragma once

#include "base/conditions.h"
#include "base/random.h"
#include "ingest/listener.h"
#include "pipeline/stage.h"
#include "tests/ingest/test_certificates.h"
#include "tests/ingest/test_client.h"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace cw::test {

// Stands for control and spool of one reactor.
class ModelBackend final : public pipeline::Stage {
public:
    explicit ModelBackend(std::size_t records_capacity);

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] std::string_view name() const noexcept override { return "model"; }

    ingest::ReactorPorts ports(const std::function<void()>& wake);
    void attach(ingest::Reactor& reactor) { reactor_ = &reactor; }

    // What arrived so far, without payload.
    [[nodiscard]] std::vector<pipeline::RecordHeader> headers() const;
    // CRC-32C over all data bytes in the order of arrival.
    [[nodiscard]] std::uint32_t data_crc() const;
    [[nodiscard]] std::size_t count() const;

    std::atomic<bool> hold_records{false};  // Take nothing: the ring fills.
    std::atomic<bool> hold_notices{false};  // Take records, say nothing of durability.
    std::atomic<bool> hold_opens{false};

private:
    void take_record(pipeline::Record record);
    bool open_machines();

    pipeline::Ring<pipeline::Record> records_;
    pipeline::Ring<pipeline::OpenMachine> opens_{256};
    pipeline::Ring<pipeline::MachineOpened> opened_{256};
    pipeline::Ring<pipeline::Spooled> spooled_{256};
    pipeline::Ring<pipeline::Committed> committed_{16};
    ingest::Reactor* reactor_ = nullptr;
    std::vector<pipeline::Spooled> unsent_;  // The ring was full, or notices are held.
    mutable std::mutex mutex_;
    std::vector<pipeline::RecordHeader> headers_;
    std::uint32_t data_crc_ = 0;
};

// The system's clock, whose wall time a test may move, and which it may stop.
class ShiftedClock final : public Clock {
public:
    Nanos boot() override {
        const std::int64_t stands_at = stands_at_;
        return stands_at != 0 ? Nanos{stands_at} : system_->boot();
    }
    WallMicros wall() override { return WallMicros{raw(system_->wall()) + shift_us}; }

    // From here on boot time moves only by advance().
    void stop() { stands_at_ = raw(system_->boot()); }
    void advance(std::int64_t ns) { stands_at_ += ns; }

    std::atomic<std::int64_t> shift_us{0};

private:
    std::unique_ptr<Clock> system_ = make_system_clock();
    std::atomic<std::int64_t> stands_at_{0};  // 0: it goes.
};

struct RigOptions {
    std::size_t reactors = 1;
    std::size_t slabs = 32;
    std::size_t records_capacity = 64;
    bool use_uring = true;
    ingest::Limits limits{};
    ingest::Authorise authorise{};
    std::shared_ptr<const RevocationList> revoked{};
    bool clock_stands = false;
};

class ListenerRig {
public:
    explicit ListenerRig(const RigOptions& options = {});
    ~ListenerRig();

    [[nodiscard]] std::uint16_t port() const { return listener->port(); }
    ModelBackend& backend(std::size_t reactor = 0) { return *backends.at(reactor); }
    // A live session of machine `seed`.
    Result<TestClient> session(std::uint8_t seed = 0x77, std::size_t disks = 1,
                               std::uint64_t boot = 1);
    // Rings everybody: after a hold was released.
    void ring();

    static TestCertificates& certificates();

    std::unique_ptr<ShiftedClock> clock = std::make_unique<ShiftedClock>();
    std::unique_ptr<Random> random = make_system_random();
    Conditions conditions{*clock};
    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
    ingest::SharedCredit credit{1 * gib, 32 * mib};
    std::unique_ptr<pipeline::SlabPool> pool;
    std::vector<std::unique_ptr<ModelBackend>> backends;
    std::unique_ptr<ingest::Listener> listener;
    std::unique_ptr<pipeline::Runner> runner;
};

// Polls `claim` for up to ten seconds.
bool eventually(const std::function<bool()>& claim);

}  // namespace cw::test
