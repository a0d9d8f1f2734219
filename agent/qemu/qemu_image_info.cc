#include "agent/qemu/qemu_image_info.h"

#include <cstdint>

#include <nlohmann/json.hpp>

namespace cw::agent {
namespace {

using nlohmann::json;

std::unexpected<Error> fail_info(const char* what) {
    return fail(Errc::source_gone, std::string("qemu-img info tells ") + what);
}

Result<QemuImageInfo::Bitmap> parse_bitmap(const json& said) {
    const auto name = said.find("name"), flags = said.find("flags");
    if (!said.is_object() || name == said.end() || !name->is_string() || flags == said.end() ||
        !flags->is_array()) {
        return fail_info("of a bitmap without a name or flags");
    }
    QemuImageInfo::Bitmap bitmap{.name = name->get<std::string>()};
    for (const json& flag : *flags) {
        bitmap.in_use = bitmap.in_use || flag == "in-use";
        bitmap.automatic = bitmap.automatic || flag == "auto";
    }
    return bitmap;
}

// What only qcow2 has. A format that says nothing of its own has none of it.
Result<void> parse_specific(const json& said, QemuImageInfo& info) {
    const auto specific = said.find("format-specific");
    if (specific == said.end()) {
        return {};
    }
    const auto data = specific->find("data");
    if (data == specific->end() || !data->is_object()) {
        return fail_info("nothing specific of the format");
    }
    info.alone = info.alone && !data->contains("data-file");
    const auto bitmaps = data->find("bitmaps");
    if (bitmaps == data->end()) {
        return {};
    }
    if (!bitmaps->is_array()) {
        return fail_info("no list of bitmaps");
    }
    for (const json& each : *bitmaps) {
        CW_TRY_ASSIGN(auto bitmap, parse_bitmap(each));
        info.bitmaps.push_back(std::move(bitmap));
    }
    return {};
}

}  // namespace

Result<QemuImageInfo> parse_qemu_image_info(std::string_view text) {
    const json said = json::parse(text, nullptr, false);
    if (!said.is_object()) {
        return fail_info("no JSON");
    }
    const auto size = said.find("virtual-size");
    if (size == said.end() || !size->is_number_unsigned() ||
        size->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
        return fail_info("no size");
    }
    QemuImageInfo info{.size_bytes = size->get<std::uint64_t>(),
                       .alone = !said.contains("backing-filename"),
                       .bitmaps = {}};
    CW_TRY(parse_specific(said, info));
    return info;
}

}  // namespace cw::agent
