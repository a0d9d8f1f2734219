// The parts of a restored disk: its partitions, or the whole of it, what each of them is, and each
// as a file of its own.
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cw::appliance {

// Runs the programs of others, until they end, are out of time or are not wanted any more.
class Tools {
public:
    struct Answer {
        int exit_code = 0;
        std::string output;  // Of stdout and stderr together; the newest.
        bool told = false;   // It said what was waited for, and was ended.
    };
    Tools(Clock& clock, std::function<bool()> cancelled)
        : clock_(clock), cancelled_(std::move(cancelled)) {}
    // Also what is only on root's PATH. Ends it when it says `telling`, unless that is empty.
    // Errors: not_found naming the package that has it, io_error (out of time), cancelled.
    [[nodiscard]] Result<Answer> run(std::vector<std::string> argv, std::int64_t timeout_ns,
                                     const std::string& telling = {}) const;
    [[nodiscard]] bool cancelled() const { return cancelled_ && cancelled_(); }

private:
    Clock& clock_;
    std::function<bool()> cancelled_;
};

struct Part {
    std::string where;  // "whole disk", "partition 2"
    std::string image;  // The file that it lies in.
    std::uint64_t offset = 0, size = 0;
    std::string type;  // As sfdisk names it; empty for a whole disk.
};
// The partitions; the whole disk if it has no table. Errors: those of Tools.
Result<std::vector<Part>> parts_of(const std::string& image, const Tools& tools);

// The same, of what `sfdisk --json` said of an image of so many bytes; none if that is no table.
// Each lies within the image.
std::vector<Part> parse_partition_table(std::string_view said, const std::string& image,
                                        std::uint64_t bytes);

// What is in it, as blkid names it; empty: nothing known. Errors: those of Tools, io_error.
Result<std::string> kind_of(const Part& part, const Tools& tools);

// What its type says it is for, if that is nothing that can be checked; empty: it is not known.
std::string purpose_of(const Part& part);

// Whether it holds nothing but zeros. Errors: io_error, cancelled.
Result<bool> only_zeros(const Part& part, const Tools& tools);

// A copy of a part, gone with the object: few checkers know of offsets, and none of those that
// replay a journal. Without data where there is none, and without a second copy of the data where
// the file system below can share blocks.
class PartCopy {
public:
    // Beside the image. Errors: io_error (no room, for one), cancelled.
    static Result<PartCopy> make(const Part& part, const Tools& tools);
    PartCopy(PartCopy&& other) noexcept;
    PartCopy(const PartCopy&) = delete;
    PartCopy& operator=(const PartCopy&) = delete;
    ~PartCopy();
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    explicit PartCopy(std::string path) : path_(std::move(path)) {}
    std::string path_;  // Empty: moved from.
};

}  // namespace cw::appliance
