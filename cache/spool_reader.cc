#include "cache/payload_check.h"
#include "cache/spool.h"
#include "cache/spool_index.h"

#include <algorithm>
#include <list>
#include <map>
#include <string>

namespace cw::cache {
namespace {

class LogReader final : public SpoolReader {
public:
    LogReader(std::shared_ptr<SpoolIndex> index, std::unique_ptr<File> log, Disk& disk)
        : index_(std::move(index)), log_(std::move(log)), disk_(disk) {}
    ~LogReader() override;
    LogReader(const LogReader&) = delete;
    LogReader& operator=(const LogReader&) = delete;

    void read(Lsn lsn, Record& record, std::function<void(Result<void>)> done) override;
    std::size_t poll() override;
    [[nodiscard]] std::size_t in_flight() const noexcept override { return reads_.size(); }

private:
    // One record on its way: its table and its data are two gathering reads.
    struct Read {
        Lsn lsn{};
        Record* record = nullptr;
        Place place;
        bool pinned = false;
        std::function<void(Result<void>)> done;
        std::optional<Error> error;  // Known before anything was read.
        unsigned open = 0;
        iovec table_part{};
        std::array<iovec, pipeline::slabs_per_record_max> data_parts{};
        DiskRequest table_request, data_request;
    };

    void start(Read& read, DiskRequest& request, std::uint64_t offset, const iovec* parts,
               std::size_t count);
    static Result<void> verify(const Read& read);
    Result<void> judge(Lsn lsn, Result<void> outcome);

    std::shared_ptr<SpoolIndex> index_;
    std::unique_ptr<File> log_;
    Disk& disk_;
    std::list<Read> reads_;            // Stable addresses.
    std::map<Lsn, unsigned> refused_;  // How often the device refused a record in a row.
};

// A caller pauses between its attempts: after so many the sectors are gone.
constexpr unsigned attempts_max = 4;
constexpr std::size_t refused_max = 4096;

LogReader::~LogReader() {
    const auto open = [&] {
        return std::ranges::any_of(reads_, [](const Read& read) { return read.open > 0; });
    };
    while (open() && disk_.in_flight() > 0) {
        if (disk_.poll() == 0) {
            disk_.wait(ns_per_s / 10);
        }
    }
    for (const Read& read : reads_) {
        if (read.pinned) {
            index_->unpin(read.place.region);
        }
    }
}

void LogReader::start(Read& read, DiskRequest& request, std::uint64_t offset, const iovec* parts,
                      std::size_t count) {
    request = {.op = DiskOp::read, .file = log_.get(), .offset = offset};
    request.parts = parts;
    request.part_count = static_cast<unsigned>(count);
    request.context = &read;
    request.done = [](DiskRequest& r) { --static_cast<Read*>(r.context)->open; };
    ++read.open;
    disk_.start(request);
}

void LogReader::read(Lsn lsn, Record& record, std::function<void(Result<void>)> done) {
    Read& read = reads_.emplace_back();
    read.lsn = lsn;
    read.record = &record;
    read.done = std::move(done);
    const auto place = index_->acquire(lsn);
    if (!place) {
        read.error = Error{Errc::not_found, "LSN " + std::to_string(raw(lsn)) + " was released"};
        return;
    }
    read.place = *place;
    read.pinned = true;
    const RecordHeader& header = record.header;
    CW_ASSERT(header.table_bytes == place->table_bytes && header.data_bytes == place->data_bytes);
    if (header.table_crc != place->table_crc) {
        read.error = Error{Errc::record_corrupt, "the header is not that of this record"};
        return;
    }
    if (place->table_bytes > 0) {
        if (record.table.bytes().size() != place->table_bytes) {
            record.table = pipeline::TableBuffer(place->table_bytes);
        }
        read.table_part = {record.table.bytes().data(), place->table_bytes};
        start(read, read.table_request, place->table_offset, &read.table_part, 1);
    }
    if (place->data_bytes > 0) {
        std::size_t left = place->data_bytes;
        for (std::size_t i = 0; i < record.slab_count(); ++i) {
            CW_ASSERT(static_cast<bool>(record.slabs[i]));
            const std::size_t part = std::min(left, pipeline::slab_bytes);
            read.data_parts[i] = {record.slabs[i].data(), part};
            left -= part;
        }
        start(read, read.data_request, place->data_offset, read.data_parts.data(),
              record.slab_count());
    }
}

Result<void> LogReader::verify(const Read& read) {
    if (read.error) {
        return std::unexpected(*read.error);
    }
    for (const DiskRequest* request : {&read.table_request, &read.data_request}) {
        if (request->result < 0) {
            return fail_errno(Errc::io_error, "read from the cache",
                              static_cast<int>(-request->result));
        }
    }
    if (read.table_request.result != read.place.table_bytes ||
        read.data_request.result != read.place.data_bytes) {
        return fail(Errc::record_corrupt, "the cache file ends early");
    }
    const Record& record = *read.record;
    std::array<Bytes, pipeline::slabs_per_record_max> pieces;
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        pieces[i] = {record.slabs[i].data(), read.data_parts[i].iov_len};
    }
    return check_payload(record.header, record.table.bytes(),
                         std::span(pieces).first(record.slab_count()), pipeline::slab_bytes);
}

Result<void> LogReader::judge(Lsn lsn, Result<void> outcome) {
    if (outcome || outcome.error().code != Errc::io_error) {
        refused_.erase(lsn);
        return outcome;
    }
    if (refused_.size() >= refused_max) {
        refused_.clear();  // A device that is gone; and what was released meanwhile.
    }
    if (++refused_[lsn] < attempts_max) {
        return outcome;
    }
    refused_.erase(lsn);
    return fail(Errc::record_corrupt, "unreadable, tried " + std::to_string(attempts_max) +
                                          " times: " + outcome.error().detail);
}

std::size_t LogReader::poll() {
    disk_.poll();
    std::size_t finished = 0;
    for (auto it = reads_.begin(); it != reads_.end();) {
        if (it->open > 0) {
            ++it;
            continue;
        }
        // Out of the list first: the callback may start another read.
        std::list<Read> one;
        one.splice(one.begin(), reads_, it++);
        Read& read = one.front();
        if (read.pinned) {
            index_->unpin(read.place.region);
        }
        read.done(judge(read.lsn, verify(read)));
        ++finished;
    }
    return finished;
}

}  // namespace

Result<std::unique_ptr<SpoolReader>> SpoolReader::open(Spool& spool, Disk& disk) {
    std::shared_ptr<SpoolIndex> index = spool.index();
    CW_TRY_ASSIGN(auto log, disk.open(index->log_path(), {.direct = true}));
    return std::make_unique<LogReader>(std::move(index), std::move(log), disk);
}

}  // namespace cw::cache
