#include "egress/upload/store_probe.h"

#include "egress/upload/pause.h"

namespace cw::upload {

bool StoreProbe::worth(Errc code) noexcept {
    return action_of(code) == Action::retry || action_of(code) == Action::throttle ||
           action_of(code) == Action::reauth;
}

StoreProbe::StoreProbe(const EngineOptions& options, Random& random, Nanos now)
    : options_(options), random_(random) {
    pause(now);
}

bool StoreProbe::step(blob::BlobStore& store, const blob::BlobName& name, Nanos now) {
    if (look_->answered) {
        return true;
    }
    if (look_->under_way || now < due_) {
        return false;
    }
    pause(now);
    look_->under_way = true;
    store.head(name, [look = look_](const Result<blob::BlobProperties>& found) {
        look->under_way = false;
        look->answered = found || !worth(found.error().code);
    });
    return false;
}

Nanos StoreProbe::next_deadline() const noexcept {
    return look_->answered ? Nanos{} : look_->under_way ? Nanos{INT64_MAX} : due_;
}

void StoreProbe::pause(Nanos now) {
    due_ = now + pause_ns(options_, looks_++, random_);
}

}  // namespace cw::upload
