#include "appliance/cli/job_text.h"

#include "appliance/operator/jobs.h"
#include "appliance/operator/subprocess.h"
#include "base/log.h"
#include "recovery/catalog.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

// "done in 12 s", "writing out.raw: 40 % after 12 s"
std::string progress_text(const json& job) {
    char text[96];
    const std::string state = job["state"].get<std::string>();
    const double total = job.value("total", 0.0);
    if (state == name_of(JobState::succeeded)) {
        std::snprintf(text, sizeof text, "done in %.1f s", job.value("seconds", 0.0));
    } else if (total > 0) {
        std::snprintf(text, sizeof text, "%.0f %% after %.1f s",
                      100 * job.value("done", 0.0) / total, job.value("seconds", 0.0));
    } else {
        std::snprintf(text, sizeof text, "after %.1f s", job.value("seconds", 0.0));
    }
    return text;
}

}  // namespace

std::string point_text(const PointId& point, WallMicros time) {
    return point.is_nil() ? "none" : to_string(point) + " of " + recovery::time_text(time);
}

void print_job(const json& job) {
    const bool plan = job.contains("plan");
    std::printf("%s  %-9s %-11s %s  %s %s\n", job["id"].get<std::string>().c_str(),
                job["verb"].get<std::string>().c_str(), job["state"].get<std::string>().c_str(),
                job["started"].get<std::string>().c_str(), plan ? "plan" : "machine",
                escape_for_display(job[plan ? "plan" : "machine"].get<std::string>()).c_str());
    const auto shown = [&](const char* key) {
        return escape_for_display(one_line(job.value(key, "")), job_text_max);
    };
    if (job.contains("step")) {
        std::printf("    %s: %s\n", shown("step").c_str(), progress_text(job).c_str());
    } else {
        std::printf("    %s\n", progress_text(job).c_str());
    }
    if (job.contains("error")) {
        std::printf("    ! %s\n", shown("error").c_str());
    }
    if (job.contains("detail")) {
        std::printf("    %s\n", shown("detail").c_str());
    }
    if (job.contains("next")) {
        std::printf("    next: %s\n", shown("next").c_str());
    }
}

}  // namespace cw::appliance
