// A session without sockets: frames go in as bytes, through the real frame reader; what it hands
// over and answers is collected.
#pragma once

#include "base/conditions.h"
#include "base/random.h"
#include "ingest/frame_reader.h"
#include "ingest/session.h"
#include "tests/ingest/agent_frames.h"

#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace cw::test {

// What the server side shares between sessions.
struct ServerRig {
    ManualClock clock;
    std::unique_ptr<Random> random = make_seeded_random(1);
    Conditions conditions{clock};
    ingest::SessionTable table{clock, *random, conditions};
    ingest::SharedCredit credit{256 * mib, 16 * mib};
    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
    std::unique_ptr<pipeline::SlabPool> pool = std::move(*pipeline::SlabPool::create("test", 32));
    ingest::Authorise authorise;
    ingest::Limits limits;
    ingest::PolicyTable policies;
    bool has_digests = true;
    bool keeps_resync_orders = false;
};

class SessionRig {
public:
    explicit SessionRig(ServerRig& server, std::uint8_t machine = 0x77)
        : server_(server),
          reader_(*server.pool),
          session(std::make_unique<ingest::Session>(
              ingest::Session::Context{.clock = server.clock,
                                       .table = server.table,
                                       .credit = server.credit,
                                       .metrics = *server.metrics,
                                       .authorise = server.authorise,
                                       .limits = server.limits,
                                       .reactor = 0,
                                       .has_digests = server.has_digests,
                                       .policies = &server.policies,
                                       .keeps_resync_orders = server.keeps_resync_orders},
              Identity{Role::machine, id_of<MachineId>(machine).bytes}, "peer", 9)) {}

    // Delivers the bytes of one or more frames; collects what is handed over.
    void feed(Bytes bytes) {
        while (!bytes.empty() && session->ready()) {
            const MutableBytes target = reader_.target();
            const std::size_t count = std::min(target.size(), bytes.size());
            ASSERT_GT(count, 0U);
            std::memcpy(target.data(), bytes.data(), count);
            const auto filled = reader_.filled(count);
            ASSERT_TRUE(filled) << to_string(filled.error());
            bytes = bytes.subspan(count);
            if (reader_.complete()) {
                session->on_frame(reader_.take());
                collect();
            }
        }
    }
    // HELLO, and the control's answer: every disk with `action`, generation 1, durable 0.
    void open(const wire::Hello& hello,
              pipeline::DiskAction action = pipeline::DiskAction::continue_, Seq durable = Seq{}) {
        feed(message_frame(wire::FrameType::hello, SessionId{}, hello));
        ASSERT_TRUE(session->outbox().open);
        pipeline::MachineOpened opened = answer(action, durable);
        session->outbox().open.reset();
        session->on_opened(std::move(opened));
        ASSERT_TRUE(session->live());
    }
    pipeline::MachineOpened answer(pipeline::DiskAction action, Seq durable) {
        const pipeline::OpenMachine& open = *session->outbox().open;
        pipeline::MachineOpened opened;
        opened.machine = open.machine;
        opened.session = open.session;
        opened.token = open.token;
        for (const pipeline::DiskHello& disk : open.disks) {
            pipeline::DiskWelcome welcome;
            welcome.disk = disk.disk;
            welcome.generation = Generation{1};
            welcome.action = action;
            welcome.durable = durable;
            opened.disks.push_back(std::move(welcome));
        }
        return opened;
    }
    // The spool says that everything handed over so far is durable.
    void make_durable() {
        for (const pipeline::RecordHeader& header : records) {
            pipeline::Spooled notice;
            notice.key = header.key;
            notice.session = header.session;
            notice.bytes = std::uint64_t{header.table_bytes} + header.data_bytes;
            if (header.seq_count > 0) {
                notice.durable = Seq{raw(header.seq) + header.seq_count - 1};
            }
            if (header.type == pipeline::RecordType::base) {
                notice.fence = header.seq;
                notice.base_ordinals = {header.ordinal};
            }
            session->on_spooled(notice);
        }
        records.clear();
        session->flush();
    }
    std::vector<OutFrame> answers() { return take_frames(session->output()); }
    // The one answer of this type among those that are due; asserts that there is one.
    OutFrame answer_of(wire::FrameType type) {
        for (OutFrame& frame : answers()) {
            if (frame.header.type == type) {
                return frame;
            }
        }
        ADD_FAILURE() << "no " << wire::name_of(type);
        return {};
    }
    Errc error_code() {
        EXPECT_TRUE(session->closing());
        const auto message = answer_of(wire::FrameType::error).as<wire::ErrorMessage>();
        return static_cast<Errc>(message.code);
    }
    [[nodiscard]] Place at(std::uint64_t seq, std::uint16_t slot = 0) const {
        return {.session = session->id(), .slot = slot, .seq = Seq{seq}};
    }

private:
    void collect() {
        if (session->outbox().record) {
            records.push_back(session->outbox().record->header);
            last_record = std::move(*session->outbox().record);
            session->outbox().record.reset();
        }
    }

    ServerRig& server_;
    ingest::FrameReader reader_;

public:
    std::vector<pipeline::RecordHeader> records;  // Handed over, not yet made durable.
    pipeline::Record last_record;
    std::unique_ptr<ingest::Session> session;
};

}  // namespace cw::test
