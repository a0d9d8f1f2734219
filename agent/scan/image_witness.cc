#include "agent/scan/image_witness.h"

#include <atomic>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr std::uint64_t magic = 0x3153455449525743;  // "CWRITES1"
// A file's time is the kernel's of its last tick, before the wall clock's.
constexpr std::int64_t tick_us = 20'000;
// A write sets the time when it begins; zeroing a long range may set it again.
constexpr std::int64_t one_write_us = 2'000'000;

using Word = std::atomic<std::uint64_t>;
static_assert(Word::is_always_lock_free);

struct Page {
    Word magic;
    Word writing_us;  // Wall time at which the write under way began; 0: none is.
    Word inode;
    Word modified_ns;
};

class Mapping {
public:
    Mapping() = default;
    explicit Mapping(Page* page) : page_(page) {}
    ~Mapping() {
        if (page_ != nullptr) {
            ::munmap(page_, sizeof(Page));
        }
    }
    Mapping(Mapping&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
    Mapping& operator=(Mapping&&) = delete;
    [[nodiscard]] Page& page() const noexcept { return *page_; }

private:
    Page* page_ = nullptr;
};

Result<Mapping> map_page(const std::string& path, bool create) {
    const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600));
    if (!fd.valid()) {
        return fail_errno(Errc::io_error, "open " + path, errno);
    }
    // Its block is there before anything is stored: a full file system must not end in SIGBUS.
    const int failed = create ? ::posix_fallocate(fd.get(), 0, sizeof(Page)) : 0;
    struct stat st{};
    if (failed != 0 || ::fstat(fd.get(), &st) != 0) {
        return fail_errno(Errc::io_error, "prepare " + path, failed != 0 ? failed : errno);
    }
    if (st.st_size < static_cast<off_t>(sizeof(Page))) {
        return fail(Errc::io_error, path + " is too short");
    }
    void* const at = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (at == MAP_FAILED) {
        return fail_errno(Errc::io_error, "map " + path, errno);
    }
    return Mapping(static_cast<Page*>(at));
}

class WitnessedImage final : public BlockImage {
public:
    WitnessedImage(std::unique_ptr<BlockImage> image, Mapping mapping, Clock& clock)
        : image_(std::move(image)), mapping_(std::move(mapping)), clock_(clock) {
        note();
        mapping_.page().magic.store(magic);
    }

    std::uint64_t size() const noexcept override { return image_->size(); }
    std::uint64_t size_beneath() const noexcept override { return image_->size_beneath(); }
    bool replaced() const override { return image_->replaced(); }
    Result<void> read(std::uint64_t offset, MutableBytes out) override {
        return image_->read(offset, out);
    }
    Result<void> write(std::uint64_t offset, Bytes bytes) override {
        begin();
        auto written = image_->write(offset, bytes);
        note();
        return written;
    }
    Result<void> zero(std::uint64_t offset, std::uint64_t length, bool unmap) override {
        begin();
        auto zeroed = image_->zero(offset, length, unmap);
        note();
        return zeroed;
    }
    Result<void> flush() override { return image_->flush(); }
    std::string fingerprint() const override { return image_->fingerprint(); }
    std::optional<FileStamp> stamp() const override { return image_->stamp(); }

private:
    void begin() { mapping_.page().writing_us.store(static_cast<std::uint64_t>(clock_.wall())); }
    // A file that cannot be asked has no stamp: then what is noted fits no file.
    void note() {
        const FileStamp now = image_->stamp().value_or(FileStamp{});
        mapping_.page().inode.store(now.inode);
        mapping_.page().modified_ns.store(static_cast<std::uint64_t>(now.modified_ns));
        mapping_.page().writing_us.store(0);
    }

    std::unique_ptr<BlockImage> image_;
    Mapping mapping_;
    Clock& clock_;
};

}  // namespace

Result<std::unique_ptr<BlockImage>> witness_writes(std::unique_ptr<BlockImage> image,
                                                   const std::string& path, Clock& clock) {
    if (!image->stamp()) {
        return image;
    }
    CW_TRY_ASSIGN(Mapping mapping, map_page(path, true));
    return std::make_unique<WitnessedImage>(std::move(image), std::move(mapping), clock);
}

bool left_by_agent(const BlockImage& image, const std::string& path) {
    const std::optional<FileStamp> now = image.stamp();
    if (!now) {
        return true;
    }
    const auto mapping = map_page(path, false);
    if (!mapping) {
        return false;
    }
    const Page& page = mapping->page();
    if (page.magic.load() != magic || page.inode.load() != now->inode) {
        return false;
    }
    if (page.modified_ns.load() == static_cast<std::uint64_t>(now->modified_ns)) {
        return true;
    }
    // The file's time is that of the write it was killed in, or of a stranger's.
    const auto writing_us = static_cast<std::int64_t>(page.writing_us.load());
    const std::int64_t after_us = now->modified_ns / ns_per_us - writing_us;
    return writing_us != 0 && after_us >= -tick_us && after_us <= one_write_us;
}

}  // namespace cw::agent
