// ServerSession: frames over one Link, with credit. Knows the protocol's grammar, not its meaning.
// Thread-safety: none; the agent's loop.
#pragma once

#include "agent/session/link.h"
#include "base/clock.h"
#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"
#include "pipeline/record.h"

#include <memory>
#include <optional>

namespace cw::agent {

struct InFrame {
    wire::FrameHeader header;
    ByteVector payload;
};

class ServerSession {
public:
    ServerSession(std::unique_ptr<Link> link, Clock& clock);

    // --- sending; flush() afterwards. Errors of all: connection_lost ---
    Result<void> send(wire::FrameType type, std::uint16_t slot, Seq seq, Bytes payload,
                      std::uint32_t ordinal = 0);
    // WRITE, BASE, POINT: the stored payload as it is. WRITE and BASE use up credit: may_send().
    Result<void> send_record(const pipeline::Record& record, std::uint16_t slot);
    Result<void> flush() { return link_->flush(); }
    [[nodiscard]] bool writable() const noexcept { return link_->writable(); }
    [[nodiscard]] bool may_send(const pipeline::RecordHeader& header) const noexcept;

    // --- receiving ---
    // The next whole frame; nullopt when none is there yet. Errors: connection_lost,
    // frame_malformed, payload_corrupt: the session is over.
    Result<std::optional<InFrame>> next();

    void welcomed(SessionId session, std::uint64_t credit) noexcept;
    void grant(std::uint64_t cumulative) noexcept { credit_ = std::max(credit_, cumulative); }
    [[nodiscard]] SessionId id() const noexcept { return session_; }
    [[nodiscard]] Nanos last_heard() const noexcept { return last_heard_; }
    [[nodiscard]] std::uint64_t sent_payload() const noexcept { return sent_payload_; }
    [[nodiscard]] const Link& link() const noexcept { return *link_; }

private:
    Result<std::optional<InFrame>> parse();

    std::unique_ptr<Link> link_;
    Clock& clock_;
    SessionId session_{};
    std::uint64_t credit_ = 0, sent_payload_ = 0;
    Nanos last_heard_;
    ByteVector fresh_;    // What a read may give.
    ByteVector in_;       // Bytes received and not yet parsed; bounded by one frame and one read.
    std::size_t at_ = 0;  // Parsed so far.
};

}  // namespace cw::agent
