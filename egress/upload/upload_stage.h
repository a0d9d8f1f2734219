// UploadStage: puts segments that the lanes chose, over one store of its own. It decides nothing:
// what an outcome means is the assembly stage's business.
// Thread-safety: none; one thread.
#pragma once

#include "egress/upload/channel.h"
#include "egress/upload/engine.h"
#include "egress/upload/read_back.h"
#include "egress/upload/segment_work.h"

namespace cw::upload {

// assembly → upload. The bytes belong to the segment, which stays in place until the answer.
struct UploadOrder {
    SegmentWork* work = nullptr;
    blob::BlobName name;
    std::vector<Bytes> body;
    std::uint64_t crc64 = 0;  // Of the body.
    std::string nonce;
    std::uint32_t concurrency = 0;  // What the lanes allow at once, for the store's pool.
};
// upload → assembly
struct UploadAnswer {
    SegmentWork* work = nullptr;
    std::size_t uploader = 0;
    Nanos started{}, finished{};
    blob::PutResult result;
};

class UploadStage final : public BlobStage {
public:
    struct Context {
        Clock& clock;
        std::unique_ptr<blob::BlobStore> store;
        Channel<UploadOrder>& orders;
        Channel<UploadAnswer>& answers;
        std::size_t index = 0;
        std::uint32_t read_back_every = 0;  // As EngineOptions has it.
    };
    explicit UploadStage(Context context)
        : context_(std::move(context)), read_back_(*context_.store) {}
    ~UploadStage() override { context_.store.reset(); }  // Its callbacks borrow this.

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] std::string_view name() const noexcept override { return "upload"; }
    [[nodiscard]] blob::BlobStore& store() noexcept override { return *context_.store; }

private:
    void start(UploadOrder order);
    void stored(UploadAnswer answer, ReadBack::Target target);

    Context context_;
    std::uint32_t concurrency_ = 0;
    ReadBack read_back_;
};

}  // namespace cw::upload
