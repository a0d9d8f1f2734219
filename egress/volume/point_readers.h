// Who reads a point beside the writer. Each reader holds an empty file of its own in `readers` of
// the work directory, named by its point and locked for as long as its process lives: what leads to
// that point is then kept, however old it grows. The file goes with what was collected: a reader
// whose file is gone has nothing to read any more.
//
// Lack of room is stronger than a reader: what is being collected is worth more.
#pragma once

#include "base/disk.h"
#include "base/ids.h"

#include <memory>
#include <string>
#include <vector>

namespace cw::volume {

class PointPin {
public:
    // `reader`: nobody else's; letters, digits and "-". Errors: io_error, not_found (no such work
    // directory).
    static Result<std::unique_ptr<PointPin>> take(Disk& disk, const std::string& work_directory,
                                                  const PointId& point, const std::string& reader);
    ~PointPin();
    PointPin(const PointPin&) = delete;
    PointPin& operator=(const PointPin&) = delete;

    // False: what was collected is given up or cancelled. Errors: io_error.
    [[nodiscard]] Result<bool> holds() const { return disk_.exists(path_); }

private:
    PointPin(Disk& disk, std::string path, std::unique_ptr<File> file)
        : disk_(disk), path_(std::move(path)), file_(std::move(file)) {}

    Disk& disk_;
    const std::string path_;
    std::unique_ptr<File> file_;
};

// Points with a reader that lives; what dead ones have left is removed. Errors: io_error.
Result<std::vector<PointId>> points_being_read(Disk& disk, const std::string& work_directory);
// Takes every reader its point away. Errors: io_error.
Result<void> turn_readers_away(Disk& disk, const std::string& work_directory);

}  // namespace cw::volume
