#include "appliance/cli/failback_hint.h"

#include "appliance/operator/failback_hint.h"
#include "base/given_file.h"

#include <sys/stat.h>

namespace cw::appliance {
namespace {

constexpr std::size_t hint_file_max = 64 * mib;

// nullopt: a device, or it cannot be told.
std::optional<WallMicros> last_written(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
        return std::nullopt;
    }
    return WallMicros{std::int64_t{status.st_mtim.tv_sec} * 1'000'000 +
                      status.st_mtim.tv_nsec / 1'000};
}

// The newest point that lacks writes of the disk which `since` has.
std::optional<WallMicros> time_before(const recovery::Catalog& catalog, const HintOrigin& origin) {
    std::optional<WallMicros> time;
    Seq most{};
    for (const vault::PointEntry* point : catalog.points()) {
        for (const vault::PointEntry::Cut& cut : point->cuts) {
            if (cut.disk == origin.disk && cut.generation == origin.since_mark.generation &&
                cut.cut < origin.since_mark.cut && cut.cut >= most) {
                most = cut.cut;
                time = point->source_time;
            }
        }
    }
    return time;
}

}  // namespace

Result<std::string> take_hint(Cli& cli, const HintChoice& choice, const recovery::Catalog& catalog,
                              recovery::FailbackRequest& request) {
    CW_TRY_ASSIGN(const ByteVector text,
                  read_given_file(*cli.seams.disk, choice.file, hint_file_max));
    CW_TRY_ASSIGN(FailbackHintFile file, parse_failback_hint(as_text(text), choice.file));
    std::optional<std::string> doubt;
    if (file.origin) {
        CW_TRY_ASSIGN(const auto* point, catalog.find_point(request.point));
        CW_TRY_ASSIGN(const recovery::DiskAtPoint disk, catalog.find_disk(*point, request.disk));
        request.hint_since = to_string(file.origin->since);
        CW_TRY_ASSIGN(
            doubt, judge_hint(*file.origin,
                              {.machine = catalog.machine(),
                               .disk = disk.disk,
                               .size_bytes = disk.size_bytes,
                               .point = {disk.generation, disk.cut},
                               .since_is_there = catalog.find_point(request.hint_since).has_value(),
                               .target_written = last_written(request.target.path),
                               .earlier_point = time_before(catalog, *file.origin),
                               .target_trusted = choice.trusted}));
    } else if (!choice.trusted) {
        doubt = "nobody can tell since when it was recorded";
    }
    if (doubt) {
        request.hint_since.clear();
        return "ignored: " + *doubt;
    }
    request.hint = std::move(file.ranges);
    request.random = cli.seams.random.get();
    return hint_used;
}

}  // namespace cw::appliance
