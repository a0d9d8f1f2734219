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
    context_.store->put({.name = std::move(order.name),
                         .body = std::move(order.body),
                         .metadata = {{"nonce", std::move(order.nonce)}},
                         .condition = blob::PutCondition::if_absent,
                         .etag = {},
                         .lease_id = {},
                         .crc64 = order.crc64},
                        [this, work, started](blob::PutResult result) {
                            CW_CRASH_POINT("upload.segment_put");
                            context_.answers.send({.work = work,
                                                   .uploader = context_.index,
                                                   .started = started,
                                                   .finished = context_.clock.boot(),
                                                   .result = std::move(result)});
                        });
}

}  // namespace cw::upload
