// SeedImport: sends the image of a medium to a server as a machine's agent would, over an ordinary
// session with the machine's certificate.
//
// It keeps no history: each import begins one, and what an earlier one left in the vault is found
// by digests. At its end stands a fence that is not ended, so that the disk does not count as
// protected and the real agent, which has a history of its own, compares everything with what is
// there. Only an image that was still, on request, becomes a recovery point of its moment.
// Thread-safety: run() on one thread; stop() from anywhere, also a signal handler.
#pragma once

#include "agent/seed/seed_image.h"
#include "agent/session/tls_link.h"
#include "agent/stream/replicator.h"
#include "pipeline/stage.h"

#include <atomic>
#include <functional>

namespace cw::agent {

struct SeedImportOptions {
    TlsTarget target;
    std::string directory;  // For the time of the import; taken for us alone.
    std::string machine_name, disk_name;
    std::optional<WallMicros> point_of;  // The image is still, of this moment: make a point of it.
    bool over = false;                   // Also where the disk is protected.
};

struct SeedReport {
    DiskId disk;
    Generation generation{};
    std::uint64_t size_bytes = 0, sent_bytes = 0;
    std::optional<PointId> point;
};

class SeedImport {
public:
    using Observer = std::function<void(const Replicator::Status&)>;

    // `image` and the others outlive the import. Errors: tls_failed, certificate_expired,
    // identity_refused, in_use, io_error.
    static Result<std::unique_ptr<SeedImport>> create(SeedImportOptions options, SeedImage& image,
                                                      Clock& clock, Random& random);
    ~SeedImport();

    // Until all of it is in the vault. A server that cannot be reached at first is an error; one
    // that is lost later is waited for. Errors: those of SeedImage; transition_refused (the disk
    // is protected there), authz_denied, cancelled, and what the server refuses.
    Result<SeedReport> run(const Observer& observe);
    void stop() noexcept;

private:
    enum class Phase : std::uint8_t { copying, pointing, marking, leaving };
    SeedImport(SeedImportOptions options, SeedImage& image, Clock& clock, Random& random);
    Result<void> start(const MachineId& machine);
    Result<void> judge(const Replicator::Status& status);
    Result<void> advance(const Replicator::Status& status);
    Result<void> advance_point();
    Result<void> met();
    Result<void> mark();
    void park(bool busy);

    const SeedImportOptions options_;
    SeedImage& image_;
    Clock& clock_;
    Random& random_;
    std::unique_ptr<cw::Disk> disk_, map_disk_;
    std::unique_ptr<cw::File> lock_;
    std::unique_ptr<StateFile> state_;
    std::unique_ptr<pipeline::SlabPool> pool_, base_pool_;
    std::unique_ptr<Outbox> outbox_;
    std::unique_ptr<DiskCapture> capture_;
    pipeline::Doorbell doorbell_;
    std::unique_ptr<Connector> connector_;
    std::unique_ptr<Replicator> replicator_;
    Phase phase_ = Phase::copying;
    std::optional<PointId> point_;
    bool point_done_ = false, met_ = false;
    bool again_ = false;  // An import with a point was interrupted: it may have been made.
    Seq mark_{};
    Nanos begun_{};
    std::atomic<bool> stop_asked_{false};
};

}  // namespace cw::agent
