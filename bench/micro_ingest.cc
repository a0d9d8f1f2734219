// From socket to record, part by part: TLS over loopback, the frame codec, the frame reader,
// credit.
#include "base/checksum.h"
#include "bench/micro.h"
#include "bench/primitives.h"
#include "bench/temporary_directory.h"
#include "ingest/credit_account.h"
#include "ingest/frame_reader.h"
#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"

#include <algorithm>
#include <cstring>

namespace cw::bench {
namespace {

wire::FrameHeader write_header(std::uint32_t data_bytes) {
    return {.type = wire::FrameType::write,
            .disk_slot = 0,
            .payload_bytes = static_cast<std::uint32_t>(block_bytes) + data_bytes,
            .table_bytes = block_bytes,
            .seq = Seq{7},
            .session = SessionId{1},
            .ordinal = 0,
            .table_crc = crc32c(ByteVector(block_bytes))};
}

void frame_header_encode(benchmark::State& state) {
    wire::FrameHeader header = write_header(mib);
    for (auto _ : state) {
        header.seq = Seq{raw(header.seq) + 1};
        benchmark::DoNotOptimize(wire::encode_frame_header(header));
    }
    count_items(state, 1);
}
BENCHMARK(frame_header_encode);

void frame_header_decode(benchmark::State& state) {
    const auto bytes = wire::encode_frame_header(write_header(mib));
    for (auto _ : state) {
        benchmark::DoNotOptimize(wire::decode_frame_header(bytes));
    }
    count_items(state, 1);
}
BENCHMARK(frame_header_decode);

// An acknowledgement of `range(0)` disks, `range(1)` super-chunks of initial sync each.
wire::Ack make_ack(const benchmark::State& state) {
    wire::Ack ack;
    for (std::int64_t slot = 0; slot < state.range(0); ++slot) {
        wire::Ack::Disk disk{.slot = static_cast<std::uint16_t>(slot),
                             .received = Seq{900},
                             .spooled = Seq{800},
                             .committed = Seq{700},
                             .fence = Seq{state.range(1) > 0 ? 10U : 0U},
                             .base_spooled = {},
                             .base_committed = {}};
        for (std::uint32_t i = 0; i < state.range(1); ++i) {
            disk.base_spooled.push_back(i);
        }
        ack.disks.push_back(std::move(disk));
    }
    return ack;
}

void ack_encode(benchmark::State& state) {
    const wire::Ack ack = make_ack(state);
    for (auto _ : state) {
        benchmark::DoNotOptimize(
            wire::encode_control_frame({.type = wire::FrameType::ack}, wire::encode(ack)));
    }
    count_items(state, 1);
}
BENCHMARK(ack_encode)->Args({1, 0})->Args({1, 64})->Args({64, 0});

void ack_decode(benchmark::State& state) {
    const ByteVector payload = wire::encode(make_ack(state));
    CW_ASSERT(wire::decode<wire::Ack>(payload).has_value());
    for (auto _ : state) {
        benchmark::DoNotOptimize(wire::decode<wire::Ack>(payload));
    }
    count_items(state, 1);
}
BENCHMARK(ack_decode)->Args({1, 0})->Args({1, 64})->Args({64, 0});

// WRITE frames put together from a stream: what is left beside TLS, whose part of moving the bytes
// to their place is a memcpy here. `range(0)`: data bytes of a frame.
void frame_reader(benchmark::State& state) {
    const auto data_bytes = static_cast<std::uint32_t>(state.range(0));
    const auto header = wire::encode_frame_header(write_header(data_bytes));
    ByteVector stream(header.begin(), header.end());
    stream.resize(stream.size() + block_bytes);
    const Bytes data = Bytes(micro_corpus()).first(data_bytes);
    stream.insert(stream.end(), data.begin(), data.end());
    const auto pool = *pipeline::SlabPool::create("bench", 2 * pipeline::slabs_per_record_max);
    ingest::FrameReader reader(*pool);
    for (auto _ : state) {
        for (Bytes left = stream; !left.empty();) {
            const MutableBytes target = reader.target();
            const std::size_t count = std::min(target.size(), left.size());
            std::memcpy(target.data(), left.data(), count);
            CW_ASSERT(count > 0 && reader.filled(count).has_value());
            left = left.subspan(count);
        }
        benchmark::DoNotOptimize(reader.take());
    }
    count_bytes(state, stream.size());
    count_items(state, 1);
}
BENCHMARK(frame_reader)->Arg(4096)->Arg(64 * kib)->Arg(mib)->Arg(8 * mib);

// One record's credit, from receipt to durable, and the next grant.
void credit_round(benchmark::State& state) {
    ingest::SharedCredit policy(gib, 64 * mib);
    ingest::CreditAccount account(policy);
    account.grow();
    constexpr std::uint64_t payload = mib + block_bytes;
    for (auto _ : state) {
        CW_ASSERT(account.receive(payload));
        account.settle(payload);
        policy.consume(payload);
        benchmark::DoNotOptimize(account.grow());
    }
    count_items(state, 1);
}
BENCHMARK(credit_round);

// One peer over loopback, 256 KiB per send. The time is the receiving thread's CPU time.
void tls_receive(benchmark::State& state) {
    const Bytes data = Bytes(micro_corpus()).first(16 * mib);
    for (auto _ : state) {
        const TemporaryDirectory directory(std::filesystem::temp_directory_path());
        Primitives primitives;
        if (const auto ok = measure_tls(primitives, data, directory.path()); !ok) {
            state.SkipWithError(to_string(ok.error()).c_str());
            return;
        }
        state.SetIterationTime(primitives.tls_receive * static_cast<double>(data.size()) /
                               static_cast<double>(gib));
    }
    count_bytes(state, data.size());
}
BENCHMARK(tls_receive)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cw::bench
