#include "recovery/image_writer.h"

#include "base/assert.h"
#include "recovery/output_file.h"
#include "recovery/output_hold.h"
#include "recovery/vhd.h"

#include <algorithm>
#include <deque>

namespace cw::recovery {
namespace {

constexpr std::uint64_t window_bytes = 4 * mib;
constexpr std::size_t windows_ahead = 8;        // 32 MiB of buffers.
constexpr std::uint64_t hole_grain = 64 * kib;  // Zeros shorter than this are written.

// One stretch of the disk: on its way from the vault, then into the file, in order.
struct Window {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    bool hole = false;
    ByteVector buffer;
    std::optional<Result<void>> read;
};

Result<void> not_cancelled(const std::function<bool()>& cancelled) {
    return cancelled && cancelled() ? fail(Errc::cancelled, "before the disk was whole")
                                    : Result<void>{};
}

class ImageCopy {
public:
    ImageCopy(Image& image, OutputFile& out, const WriteOptions& options, const Progress& progress)
        : image_(image),
          out_(out),
          hash_(options.verify),
          cancelled_(options.cancelled),
          progress_(progress) {}

    Result<void> run() {
        auto result = pump();
        while (!std::ranges::all_of(windows_, [](const Window& w) { return w.read.has_value(); })) {
            advance();  // Reads under way borrow the buffers: let them end.
        }
        return result;
    }

    [[nodiscard]] std::uint64_t written() const noexcept { return written_; }
    Sha256 digest() { return sha_.finish(); }

private:
    Result<void> pump() {
        const std::uint64_t total = image_.size_bytes();
        while (next_ < total || !windows_.empty()) {
            while (next_ < total && windows_.size() < windows_ahead) {
                begin_window(std::min(window_bytes, total - next_));
            }
            Window& front = windows_.front();
            while (!front.read) {
                CW_TRY(not_cancelled(cancelled_));
                advance();
            }
            CW_TRY(not_cancelled(cancelled_));
            CW_TRY(*front.read);
            CW_TRY(take(front));
            if (progress_) {
                progress_(front.offset + front.length, total);
            }
            spare_.push_back(std::move(front.buffer));
            windows_.pop_front();
        }
        return {};
    }

    void advance() {
        image_.wait(image_wait_slice_ns);
        image_.poll();
    }

    void begin_window(std::uint64_t length) {
        Window& window = windows_.emplace_back();  // A deque: others stay where they are.
        window.offset = next_;
        window.length = length;
        next_ += length;
        const auto extents = image_.extents(window.offset, length, 2);
        window.hole = extents.size() == 1 && extents.front().zero;
        if (!spare_.empty()) {
            window.buffer = std::move(spare_.back());
            spare_.pop_back();
        }
        if (window.hole) {
            window.read.emplace();
            return;
        }
        window.buffer.resize(window_bytes);
        image_.read_later({{window.offset, MutableBytes(window.buffer).first(length)}},
                          [&window](Result<void> done) { window.read.emplace(std::move(done)); });
    }

    Result<void> take(const Window& window) {
        if (window.hole && out_.sparse() && !hash_) {
            return {};
        }
        Bytes bytes = Bytes(window.buffer).first(window.hole ? 0 : window.length);
        if (window.hole) {
            zeros_.resize(window_bytes);
            bytes = Bytes(zeros_).first(window.length);
        }
        if (hash_) {
            sha_.update(bytes);
        }
        return window.hole && out_.sparse() ? Result<void>{} : store(window.offset, bytes);
    }

    // Writes what is not zero, in runs; a device gets everything.
    Result<void> store(std::uint64_t offset, Bytes bytes) {
        std::size_t begin = 0;
        while (begin < bytes.size()) {
            std::size_t end = begin;
            bool zero = true;
            while (end < bytes.size()) {
                const std::size_t n = std::min<std::size_t>(hole_grain, bytes.size() - end);
                const bool grain_zero = out_.sparse() && all_zero(bytes.subspan(end, n));
                if (end != begin && grain_zero != zero) {
                    break;
                }
                zero = grain_zero;
                end += n;
            }
            if (!zero) {
                CW_TRY(out_.write(offset + begin, bytes.subspan(begin, end - begin)));
                written_ += end - begin;
            }
            begin = end;
        }
        return {};
    }

    Image& image_;
    OutputFile& out_;
    bool hash_;
    const std::function<bool()>& cancelled_;
    const Progress& progress_;
    std::deque<Window> windows_;
    std::vector<ByteVector> spare_;
    ByteVector zeros_;
    Sha256Stream sha_;
    std::uint64_t next_ = 0;
    std::uint64_t written_ = 0;
};

Result<Sha256> digest_of(OutputFile& file, std::uint64_t length,
                         const std::function<bool()>& cancelled) {
    Sha256Stream sha;
    ByteVector buffer(window_bytes);
    for (std::uint64_t at = 0; at < length; at += window_bytes) {
        CW_TRY(not_cancelled(cancelled));
        const MutableBytes part = MutableBytes(buffer).first(std::min(window_bytes, length - at));
        CW_TRY(file.read(at, part));
        sha.update(part);
    }
    return sha.finish();
}

}  // namespace

Result<WriteReport> write_image(Image& image, Disk& disk, const WriteOptions& options,
                                const Progress& progress) {
    const bool vhd = options.format == ImageFormat::vhd;
    WriteReport report;
    report.image_bytes = image.size_bytes();
    report.file_bytes =
        vhd ? vhd_disk_bytes(report.image_bytes) + vhd_footer_bytes : report.image_bytes;
    CW_TRY_ASSIGN(OutputFile out, OutputFile::create(disk, options.path, report.file_bytes,
                                                     options.force, options.may_replace));
    ImageCopy copy(image, out, options, progress);
    CW_TRY(copy.run());
    report.written_bytes = copy.written();
    if (vhd) {
        const std::uint64_t footer_at = report.file_bytes - vhd_footer_bytes;
        if (!out.sparse()) {
            CW_TRY(out.write(report.image_bytes, ByteVector(footer_at - report.image_bytes)));
        }
        CW_TRY(out.sync());  // The footer says that what is before it is whole.
        CW_TRY(out.write(footer_at, vhd_footer(footer_at, options.image_id, options.created)));
        report.written_bytes += vhd_footer_bytes;
    }
    CW_TRY(out.sync());
    if (options.verify) {
        report.sha256 = copy.digest();
        CW_TRY_ASSIGN(const Sha256 seen, digest_of(out, report.image_bytes, options.cancelled));
        if (seen != *report.sha256) {
            return fail(Errc::restore_mismatch, options.path + ": read back " + to_hex(seen) +
                                                    ", restored " + to_hex(*report.sha256));
        }
    }
    if (options.about_to_name && out.sparse()) {
        options.about_to_name(partial_of(options.path));
    }
    CW_TRY(out.finish());
    return report;
}

}  // namespace cw::recovery
