// OpenStage: reads a machine's chain to its end and claims it with a takeover manifest.
//
// Blocking, one task per step, with a store of its own: a chain of thousands of manifests takes
// seconds to read, and no other machine's publishing may wait for that. Claims are create-only and
// recognise their own lost reply; whoever cannot prove that it won treats itself as fenced.
// Thread-safety: none; one thread.
#pragma once

#include "base/random.h"
#include "egress/upload/channel.h"
#include "egress/upload/engine.h"
#include "egress/upload/events.h"

namespace cw::upload {

class OpenStage final : public BlobStage {
public:
    struct Context {
        Clock& clock;
        Random& random;
        std::unique_ptr<blob::BlobStore> store;
        vault::KeyService& kek;
        const vault::VaultIdentity& vault;
        const vault::ServerSigner& signer;
        Channel<OpenTask>& tasks;
        Channel<OpenOutcome>& outcomes;
        std::uint64_t memory_max = 0;        // EngineOptions::chain_bytes_max
        std::uint32_t checkpoints_kept = 1;  // As there.
    };
    explicit OpenStage(Context context) : context_(std::move(context)) {}

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] std::string_view name() const noexcept override { return "open"; }
    [[nodiscard]] blob::BlobStore& store() noexcept override { return *context_.store; }

private:
    Result<ChainClaim> open(const OpenTask& task);
    Result<void> check_ours(const vault::ChainState& state);
    // The control container must be there before a chain with history is taken over.
    Result<void> check_control(const vault::ChainState& state, bool only_look);
    Result<ChainClaim> claim(const OpenTask& task, std::shared_ptr<vault::MachineKeys> keys,
                             std::optional<vault::ChainState> state);
    // Errors: fenced (another manifest has this number), blob_unavailable (still unknown).
    Result<void> create(const blob::BlobName& name, const vault::SealedManifest& sealed,
                        const vault::ManifestNonce& nonce);
    Result<bool> is_ours(const blob::BlobName& name, const Sha256& hash);

    Context context_;
};

}  // namespace cw::upload
