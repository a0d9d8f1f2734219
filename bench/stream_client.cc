#include "bench/stream_client.h"

#include "agent/session/server_session.h"
#include "agent/session/tls_link.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/random.h"
#include "pipeline/extent_table.h"
#include "pipeline/point.h"

#include <algorithm>
#include <deque>

#include <poll.h>

namespace cw::bench {
namespace {

using namespace pipeline;
constexpr std::size_t record_bytes = mib;

double seconds_between(Nanos from, Nanos to) {
    return static_cast<double>(to - from) / 1e9;
}

class Stream {
public:
    Stream(const StreamOptions& options, Bytes data, SlabPool& pool)
        : options_(options), data_(data), pool_(pool), disk_(make_id<DiskId>(*random_)) {}

    Result<StreamResult> run() {
        CW_TRY(greet());
        started_ = clock_->boot();
        while (!committed_) {
            CW_TRY(send_some());
            CW_TRY(session_->flush());
            CW_TRY(receive_some());
            if (clock_->boot() - started_ > options_.timeout_ms * ns_per_ms) {
                return fail(Errc::peer_slow, "the stream was not committed in time");
            }
        }
        return std::move(result_);
    }

private:
    Result<void> greet() {
        CW_TRY_ASSIGN(auto link, agent::connect_tls(
                                     {.servers = {options_.server}, .files = options_.files}, 0));
        session_.emplace(std::move(link), *clock_);
        wire::Hello hello;
        hello.software = "pipeline_bench";
        hello.machine_name = options_.name;
        hello.boot_counter = (1ULL << 32) | (random_->next_u64() >> 32);
        hello.disks.push_back({.id = disk_,
                               .size_bytes = data_.size(),
                               .generation = {},
                               .next_seq = Seq{1},
                               .oldest_held = Seq{1},
                               .catch_up_possible = false,
                               .name = "disk"});
        CW_TRY(
            session_->send(wire::FrameType::hello, wire::machine_slot, Seq{}, wire::encode(hello)));
        while (!welcomed_) {
            CW_TRY(session_->flush());
            CW_TRY(receive_some());
        }
        // A fresh disk is all zeros: its fence holds nothing.
        CW_TRY(session_->send(wire::FrameType::resync_begin, 0, Seq{next_seq_++},
                              wire::encode(wire::ResyncBegin{wire::ResyncKind::initial, "bench"})));
        return session_->send(wire::FrameType::resync_end, 0, Seq{next_seq_++}, {});
    }

    Result<void> send_some() {
        while (at_ < data_.size() && session_->writable() && is_due()) {
            Record record = make_record();
            if (!session_->may_send(record.header)) {
                return {};
            }
            hash(record.table.bytes());
            CW_TRY(session_->send_record(record, 0));
            sent_.push_back({record.header.seq, clock_->boot()});
            at_ += record_bytes;
            next_seq_ += 1;
        }
        if (at_ == data_.size() && !point_sent_) {
            point_sent_ = true;
            return send_point();
        }
        return {};
    }

    // At a steady rate the next record has its time; a late one does not move those behind it.
    bool is_due() const {
        const double elapsed = seconds_between(started_, clock_->boot());
        return options_.bytes_per_s == 0 ||
               static_cast<double>(at_) <= elapsed * options_.bytes_per_s;
    }

    Record make_record() {
        const Bytes bytes = data_.subspan(at_, record_bytes);
        Record record;
        record.slabs[0] = pool_.try_take();
        CW_ASSERT(record.slabs[0]);
        std::memcpy(record.slabs[0].data(), bytes.data(), bytes.size());
        const ExtentTable table{
            .base_time = clock_->wall(),
            .extents = {
                {.offset = at_, .length = record_bytes, .data_position = 0, .crc = crc32c(bytes)}}};
        record.table = TableBuffer(extent_table_bytes(1));
        write_extent_table(table, record.table.bytes());
        record.header.type = RecordType::write;
        record.header.seq = Seq{next_seq_};
        record.header.seq_count = 1;
        record.header.table_bytes = static_cast<std::uint32_t>(record.table.bytes().size());
        record.header.data_bytes = record_bytes;
        record.header.table_crc = crc32c(record.table.bytes());
        return record;
    }

    void hash(Bytes table) {
        Sha256Stream stream;
        stream.update(stream_hash_);
        stream.update(table);
        stream_hash_ = stream.finish();
    }

    Result<void> send_point() {
        Point point;
        point.id = make_id<PointId>(*random_);
        point.source_time = clock_->wall();
        point.cuts.push_back({.disk = disk_,
                              .generation = generation_,
                              .cut = Seq{next_seq_ - 1},
                              .stream_hash = stream_hash_});
        const ByteVector payload = encode_point(point);
        Record record;
        record.table = TableBuffer(align_up(payload.size(), block_bytes));
        std::copy(payload.begin(), payload.end(), record.table.bytes().begin());
        record.header.type = RecordType::point;
        record.header.table_bytes = static_cast<std::uint32_t>(record.table.bytes().size());
        record.header.table_crc = crc32c(record.table.bytes());
        return session_->send_record(record, wire::machine_slot);
    }

    // Waits a little when nothing can be done, then takes whatever has come.
    Result<void> receive_some() {
        const int wait_ms = options_.bytes_per_s == 0 ? 20 : 1;  // Paced: for the next record.
        const bool waits_for_network = session_->link().wants_write();
        const bool could_send =
            welcomed_ && at_ < data_.size() && session_->writable() && is_due() && has_credit();
        pollfd ready{.fd = session_->link().fd(),
                     .events = static_cast<short>(POLLIN | (waits_for_network ? POLLOUT : 0)),
                     .revents = 0};
        ::poll(&ready, 1, could_send ? 0 : wait_ms);
        for (;;) {
            CW_TRY_ASSIGN(const auto frame, session_->next());
            if (!frame) {
                return {};
            }
            CW_TRY(handle(*frame));
        }
    }

    bool has_credit() const {
        RecordHeader header;
        header.type = RecordType::write;
        header.table_bytes = block_bytes;
        header.data_bytes = record_bytes;
        return session_->may_send(header);
    }

    Result<void> handle(const agent::InFrame& frame) {
        switch (frame.header.type) {
            case wire::FrameType::welcome: {
                CW_TRY_ASSIGN(const auto welcome, wire::decode<wire::Welcome>(frame.payload));
                session_->welcomed(welcome.session, welcome.credit_bytes);
                if (welcome.disks.size() != 1 ||
                    welcome.disks[0].action != wire::DiskAction::initial) {
                    return fail(Errc::frame_malformed, "the fresh disk was not welcomed as one");
                }
                generation_ = welcome.disks[0].generation;
                next_seq_ = raw(welcome.disks[0].durable) + 1;
                welcomed_ = true;
                return {};
            }
            case wire::FrameType::ack: {
                CW_TRY_ASSIGN(const auto ack, wire::decode<wire::Ack>(frame.payload));
                take_ack(ack);
                return {};
            }
            case wire::FrameType::credit: {
                CW_TRY_ASSIGN(const auto credit, wire::decode<wire::Credit>(frame.payload));
                session_->grant(credit.cumulative_bytes);
                return {};
            }
            case wire::FrameType::ping:
                return session_->send(wire::FrameType::pong, wire::machine_slot, Seq{},
                                      frame.payload);
            case wire::FrameType::point_status: {
                CW_TRY_ASSIGN(const auto status, wire::decode<wire::PointStatus>(frame.payload));
                if (status.state == wire::PointState::committed) {
                    result_.committed_s = seconds_between(started_, clock_->boot());
                    committed_ = true;
                } else if (status.state == wire::PointState::dropped) {
                    return fail(Errc::internal, "the point was dropped: " + status.reason);
                }
                return {};
            }
            case wire::FrameType::nak: {
                CW_TRY_ASSIGN(const auto nak, wire::decode<wire::Nak>(frame.payload));
                return fail(Errc::internal, "NAK: " + nak.detail);
            }
            case wire::FrameType::error: {
                CW_TRY_ASSIGN(const auto error, wire::decode<wire::ErrorMessage>(frame.payload));
                return fail(Errc::internal, "the server refused: " + error.detail);
            }
            default:
                return {};
        }
    }

    void take_ack(const wire::Ack& ack) {
        const Nanos now = clock_->boot();
        for (const wire::Ack::Disk& disk : ack.disks) {
            while (!sent_.empty() && sent_.front().seq <= disk.spooled) {
                result_.ack_ms.push_back(seconds_between(sent_.front().at, now) * 1e3);
                sent_.pop_front();
                result_.spooled_s = seconds_between(started_, now);
            }
        }
    }

    struct Sent {
        Seq seq{};
        Nanos at{};
    };
    StreamOptions options_;
    Bytes data_;
    SlabPool& pool_;
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Random> random_ = make_system_random();
    DiskId disk_;
    std::optional<agent::ServerSession> session_;
    bool welcomed_ = false, point_sent_ = false, committed_ = false;
    Generation generation_{};
    std::uint64_t next_seq_ = 1;
    std::size_t at_ = 0;
    Sha256 stream_hash_{};
    Nanos started_{};
    std::deque<Sent> sent_;  // Not yet acknowledged.
    StreamResult result_;
};

}  // namespace

Result<StreamResult> run_stream(const StreamOptions& options, Bytes data) {
    CW_TRY_ASSIGN(const auto pool, SlabPool::create("stream client", 2));
    return Stream(options, data, *pool).run();
}

}  // namespace cw::bench
