#include "egress/upload/upload_stage.h"

#include "base/crash_point.h"

namespace cw::upload {

pipeline::Progress UploadStage::step(std::size_t budget) {
    bool worked = context_.store->poll() > 0;
    context_.answers.flush();
    UploadOrder order;
    for (std::size_t i = 0; i < budget && context_.orders.receive(order); ++i) {
        start(std::move(order));
        worked = true;
    }
    return worked ? pipeline::Progress::worked : pipeline::Progress::starved;
}

void UploadStage::start(UploadOrder order) {
    CW_CRASH_POINT("upload.before_segment_put");
    if (order.concurrency != concurrency_) {
        concurrency_ = order.concurrency;
        context_.store->set_concurrency(concurrency_);
    }
    const Nanos started = context_.clock.boot();
    SegmentWork* const work = order.work;
    ReadBack::Target target{
        .name = order.name, .etag = {}, .bytes = work->object_bytes(), .crc64 = order.crc64};
    context_.store->put({.name = std::move(order.name),
                         .body = std::move(order.body),
                         .metadata = {{"nonce", std::move(order.nonce)}},
                         .condition = blob::PutCondition::if_absent,
                         .etag = {},
                         .crc64 = order.crc64},
                        [this, work, started, target](blob::PutResult result) {
                            CW_CRASH_POINT("upload.segment_put");
                            stored({.work = work,
                                    .uploader = context_.index,
                                    .started = started,
                                    .finished = context_.clock.boot(),
                                    .result = std::move(result)},
                                   target);
                        });
}

// The sample is drawn by the content, so that it needs no dice and no segment is always spared.
void UploadStage::stored(UploadAnswer answer, ReadBack::Target target) {
    const bool drawn = context_.read_back_every > 0 &&
                       target.crc64 % context_.read_back_every == 0 && !read_back_.busy();
    if (answer.result.outcome != blob::PutOutcome::stored || !drawn) {
        context_.answers.send(std::move(answer));
        return;
    }
    target.etag = answer.result.etag;
    read_back_.start(std::move(target), [this, answer](const Result<void>& same) mutable {
        if (!same) {
            answer.result = {.outcome = blob::PutOutcome::refused, .error = same.error()};
        }
        context_.answers.send(std::move(answer));
    });
}

}  // namespace cw::upload
