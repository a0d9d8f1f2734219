#include "egress/blob/credential_gate.h"

#include <utility>

namespace cw::blob {

CredentialGate::Pass CredentialGate::ask(const void* who, Nanos now) {
    const std::lock_guard guard(mutex_);
    if (prober_ != nullptr) {
        return Pass::wait;
    }
    if (!failure_) {
        return Pass::go;
    }
    if (now < due_) {
        return Pass::fail;
    }
    prober_ = who;
    return Pass::probe;
}

Error CredentialGate::failure() const {
    const std::lock_guard guard(mutex_);
    return failure_.value_or(Error{Errc::blob_auth, {}});
}

void CredentialGate::refused(const void* prober, Error error, Nanos now) {
    const std::lock_guard guard(mutex_);
    if (prober != nullptr && prober_ == prober) {
        prober_ = nullptr;
    } else if (prober_ != nullptr || failure_) {
        return;  // Sent before the first refusal was known: it says nothing new.
    }
    failure_ = std::move(error);
    due_ = now + credential_probe_ns;
}

bool CredentialGate::try_fresh(const void* who) {
    const std::lock_guard guard(mutex_);
    if (prober_ != nullptr || failure_) {
        return false;
    }
    prober_ = who;
    return true;
}

void CredentialGate::end(const void* who, bool accepted) {
    const std::lock_guard guard(mutex_);
    if (prober_ != who) {
        return;
    }
    prober_ = nullptr;
    if (accepted) {
        failure_.reset();
    }
}

}  // namespace cw::blob
