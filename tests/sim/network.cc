#include "tests/sim/network.h"

#include "base/ids.h"

#include <algorithm>
#include <cstring>

namespace cw::sim {

void Pipe::send(Bytes bytes, Nanos due) {
    if (silent || bytes.empty()) {
        return;
    }
    last_ = std::max(last_, due);  // A stream keeps its order whatever the delays are.
    bytes_ += bytes.size();
    chunks_.push_back({last_, ByteVector(bytes.begin(), bytes.end())});
}

std::size_t Pipe::receive(MutableBytes out, Nanos now) {
    std::size_t got = 0;
    while (got < out.size() && ready(now)) {
        Chunk& chunk = chunks_.front();
        const std::size_t n = std::min(out.size() - got, chunk.bytes.size() - chunk.at);
        std::memcpy(out.data() + got, chunk.bytes.data() + chunk.at, n);
        chunk.at += n;
        got += n;
        if (chunk.at == chunk.bytes.size()) {
            chunks_.pop_front();
        }
    }
    bytes_ -= got;
    return got;
}

void Pipe::truncate(std::size_t bytes) {
    std::size_t kept = 0;
    for (auto at = chunks_.begin(); at != chunks_.end(); ++at) {
        const std::size_t size = at->bytes.size() - at->at;
        if (kept + size > bytes) {
            at->bytes.resize(at->at + (bytes - kept));
            kept = bytes;
            chunks_.erase(std::next(at), chunks_.end());
            break;
        }
        kept += size;
    }
    std::erase_if(chunks_, [](const Chunk& chunk) { return chunk.at == chunk.bytes.size(); });
    bytes_ = std::min(bytes_, kept);
}

void Pipe::hold_back(std::int64_t ns) {
    for (Chunk& chunk : chunks_) {
        chunk.due = chunk.due + ns;
    }
    last_ = last_ + ns;
}

std::shared_ptr<Wire> Network::connect(std::size_t machine, std::size_t server) {
    auto wire = std::make_shared<Wire>();
    wire->machine = machine;
    wire->server = server;
    wires_.push_back(wire);
    return wire;
}

Nanos Network::arrival() {
    const auto max = static_cast<std::uint64_t>(options_.latency_ns_max);
    return clock_.boot() + static_cast<std::int64_t>(max == 0 ? 0 : random_.below(max + 1));
}

void Network::send(Pipe& pipe, Bytes bytes) {
    const Nanos due = arrival();
    delayed += due > clock_.boot() ? 1 : 0;
    pipe.send(bytes, due);
}

std::size_t Network::receive(Pipe& pipe, MutableBytes out) {
    // Within a payload a trickle would cost a schedule its time: only small reads are cut short.
    const bool small = out.size() <= 16 * kib;
    if (options_.dribble_bytes > 0 && small && out.size() > options_.dribble_bytes) {
        out = out.first(options_.dribble_bytes);
    }
    const std::size_t got = pipe.receive(out, clock_.boot());
    dribbled += got > 0 && got == options_.dribble_bytes && pipe.ready(clock_.boot()) ? 1 : 0;
    return got;
}

void Network::cut(Wire& wire) {
    wire.up.truncate(wire.up.in_flight() == 0 ? 0 : random_.below(wire.up.in_flight() + 1));
    wire.down.truncate(wire.down.in_flight() == 0 ? 0 : random_.below(wire.down.in_flight() + 1));
    wire.up.silent = wire.down.silent = true;
    wire.agent_told = wire.server_told = true;
}

void Network::leave_stale(Wire& wire) {
    wire.agent_told = true;
    wire.down.silent = true;
    wire.up.hold_back(static_cast<std::int64_t>(random_.below(8000)) * ns_per_ms);
}

void Network::half_open(Wire& wire) {
    (random_.below(2) == 0 ? wire.up : wire.down).silent = true;
}

void Network::forget_dead() {
    std::erase_if(wires_, [](const std::shared_ptr<Wire>& wire) {
        return wire->agent_gone && wire->server_gone;
    });
}

Nanos Network::next_due() const {
    Nanos soonest{INT64_MAX};
    for (const auto& wire : wires_) {
        if (!wire->server_gone) {
            soonest = std::min(soonest, wire->up.next_due());
        }
        if (!wire->agent_gone) {
            soonest = std::min(soonest, wire->down.next_due());
        }
    }
    return soonest;
}

SimLink::~SimLink() {
    wire_->agent_gone = true;
    // A close is heard of unless the way there is silent.
    wire_->server_told |= !wire_->up.silent && !wire_->agent_told;
}

bool SimLink::writable() const noexcept {
    return wire_->up.in_flight() + unsent_.size() < 2 * mib;
}

Result<void> SimLink::write(Bytes bytes) {
    unsent_.insert(unsent_.end(), bytes.begin(), bytes.end());
    return {};
}

Result<void> SimLink::flush() {
    if (wire_->agent_told && !wire_->down.ready(Nanos{INT64_MAX})) {
        return fail(Errc::connection_lost, "cut");
    }
    network_.send(wire_->up, unsent_);
    unsent_.clear();
    return {};
}

Result<std::size_t> SimLink::read(MutableBytes out) {
    const std::size_t got = network_.receive(wire_->down, out);
    if (got == 0 && wire_->agent_told && wire_->down.in_flight() == 0) {
        return fail(Errc::connection_lost, "cut");
    }
    return got;
}

}  // namespace cw::sim
