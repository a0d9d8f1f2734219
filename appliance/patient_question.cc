#include "appliance/patient_question.h"

namespace cw::appliance {

Result<std::optional<std::string>> PatientQuestion::get(const std::string& name) {
    auto answer = daemon_.get(name);
    const Nanos now = clock_.boot();
    silent_ = !answer && answer.error().code == Errc::unreachable;
    if (!silent_) {
        heard_ = now;
        CW_TRY(answer);
        return std::optional(std::move(*answer));
    }
    if (now - heard_ >= silence_ns_max_) {
        return fail(Errc::unreachable, answer.error().detail + "; no word for " +
                                           std::to_string((now - heard_) / ns_per_s) +
                                           " s of what it was told to do, which goes on as soon "
                                           "as it runs: then say the same command again");
    }
    return std::nullopt;
}

}  // namespace cw::appliance
