// An open file of SimDisk: for its own sources.
#pragma once

#include "base/disk.h"
#include "tests/fakes/sim_image.h"

#include <memory>
#include <string>

namespace cw::fakes {

class SimFile final : public File {
public:
    SimFile(std::string path, std::shared_ptr<SimImage> image, bool direct)
        : path_(std::move(path)), image_(std::move(image)), direct_(direct) {}
    [[nodiscard]] std::uint64_t size() const noexcept override { return image_->size(); }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] SimImage& image() noexcept { return *image_; }
    [[nodiscard]] bool direct() const noexcept { return direct_; }

private:
    std::string path_;
    std::shared_ptr<SimImage> image_;
    bool direct_;
};

inline std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

}  // namespace cw::fakes
