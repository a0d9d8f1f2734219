#include "base/full_disk.h"

#include "base/disk.h"

#include <filesystem>
#include <system_error>

#include <sys/stat.h>

namespace cw {
namespace {

constexpr std::string_view look = "df -h ";

std::string absolute(const std::string& path) {
    std::error_code failed;
    const auto whole = std::filesystem::absolute(path, failed).lexically_normal();
    return failed ? path : whole.string();
}

Error named(Error error, const std::string& path, std::string_view place, std::string_view whose) {
    // Not "has no advice": what another gave may say nothing of the place.
    if (error.code == Errc::disk_full && !error.next.starts_with(look)) {
        error.next = std::string(look) + mount_of(path) + "; " + std::string(advice_of(error));
        error.detail = "that of " + std::string(place) + ", where " + std::string(whose) + " (" +
                       std::move(error.detail) + ")";
    }
    return error;
}

}  // namespace

std::string mount_of(const std::string& path) {
    const std::string whole = absolute(path);
    std::string place = whole;
    struct stat own{}, above{};
    while (::stat(place.c_str(), &own) != 0) {
        place = parent_of(place);
        if (place == "/" || place == ".") {
            return whole;
        }
    }
    while (place != "/") {
        const std::string next = parent_of(place);
        if (::stat(next.c_str(), &above) != 0 || above.st_dev != own.st_dev) {
            break;
        }
        place = next;
    }
    return place;
}

// In the words of the C library; the tools we start know no other language.
bool tells_full_disk(std::string_view output) noexcept {
    return output.contains("No space left on device") || output.contains("Disk quota exceeded");
}

Error name_full_disk(Error error, const std::string& path, std::string_view writer) {
    return named(std::move(error), path, absolute(path), std::string(writer) + " writes");
}

Error name_full_file(Error error, const std::string& path) {
    const std::string whole = absolute(path);
    return named(std::move(error), path, parent_of(whole),
                 whole.substr(whole.rfind('/') + 1) + " is written");
}

}  // namespace cw
