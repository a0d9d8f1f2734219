#include "tests/ingest/server_rig.h"

#include "base/checksum.h"
#include "base/log.h"

#include <poll.h>

namespace cw::test {

using pipeline::Progress;

ModelBackend::ModelBackend(std::size_t records_capacity) : records_(records_capacity) {}

ingest::ReactorPorts ModelBackend::ports(const std::function<void()>& wake) {
    ingest::ReactorPorts out;
    out.records = &records_;
    out.opens = &opens_;
    out.opened = &opened_;
    out.spooled = &spooled_;
    out.committed = &committed_;
    out.wake_records = wake;
    out.wake_opens = wake;
    return out;
}

Progress ModelBackend::step(std::size_t budget) {
    bool worked = !hold_opens && open_machines();
    pipeline::Record record;
    for (std::size_t i = 0; i < budget && !hold_records && records_.try_pop(record); ++i) {
        take_record(std::move(record));
        worked = true;
    }
    std::size_t sent = 0;
    while (!hold_notices && sent < unsent_.size() && spooled_.try_push(unsent_[sent])) {
        ++sent;
    }
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(sent));
    if (worked || sent > 0) {
        reactor_->doorbell().ring();
        return Progress::worked;
    }
    return Progress::starved;
}

bool ModelBackend::open_machines() {
    pipeline::OpenMachine open;
    bool worked = false;
    while (opens_.try_pop(open)) {
        pipeline::MachineOpened opened;
        opened.machine = open.machine;
        opened.session = open.session;
        opened.reactor = open.reactor;
        opened.token = open.token;
        for (const pipeline::DiskHello& disk : open.disks) {
            pipeline::DiskWelcome welcome;
            welcome.disk = disk.disk;
            welcome.generation = Generation{1};
            welcome.action = pipeline::DiskAction::continue_;
            opened.disks.push_back(std::move(welcome));
        }
        worked |= opened_.try_push(opened);
    }
    return worked;
}

void ModelBackend::take_record(pipeline::Record record) {
    pipeline::Spooled notice;
    notice.key = record.header.key;
    notice.session = record.header.session;
    notice.bytes = std::uint64_t{record.header.table_bytes} + record.header.data_bytes;
    if (record.header.seq_count > 0) {
        notice.durable = Seq{raw(record.header.seq) + record.header.seq_count - 1};
    }
    unsent_.push_back(std::move(notice));
    const std::scoped_lock lock(mutex_);
    headers_.push_back(record.header);
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        const std::size_t at = i * pipeline::slab_bytes;
        const std::size_t length =
            std::min<std::size_t>(pipeline::slab_bytes, record.header.data_bytes - at);
        data_crc_ = crc32c(record.slabs[i].bytes().first(length), data_crc_);
    }
}

std::vector<pipeline::RecordHeader> ModelBackend::headers() const {
    const std::scoped_lock lock(mutex_);
    return headers_;
}

std::uint32_t ModelBackend::data_crc() const {
    const std::scoped_lock lock(mutex_);
    return data_crc_;
}

std::size_t ModelBackend::count() const {
    const std::scoped_lock lock(mutex_);
    return headers_.size();
}

TestCertificates& ListenerRig::certificates() {
    static TestCertificates certificates;
    return certificates;
}

ListenerRig::ListenerRig(const RigOptions& options) {
    set_log_level(LogLevel::error);  // Refusals are what these tests are about.
    if (options.clock_stands) {
        clock->stop();
    }
    pool = std::move(*pipeline::SlabPool::create("ingest", options.slabs));
    runner = std::make_unique<pipeline::Runner>("model", *clock);
    std::vector<ingest::ReactorPorts> ports;
    for (std::size_t i = 0; i < options.reactors; ++i) {
        backends.push_back(std::make_unique<ModelBackend>(options.records_capacity));
        ports.push_back(backends.back()->ports([this] { runner->doorbell().ring(); }));
        runner->add(*backends.back());
    }
    TlsFiles tls = certificates().server();
    tls.revoked = options.revoked;
    auto created = ingest::Listener::create({.listen = {"127.0.0.1", 0},
                                             .reactors = options.reactors,
                                             .tls = tls,
                                             .limits = options.limits,
                                             .use_uring = options.use_uring},
                                            {.clock = *clock,
                                             .random = *random,
                                             .pool = *pool,
                                             .credit = credit,
                                             .metrics = *metrics,
                                             .conditions = conditions},
                                            std::move(ports), options.authorise);
    CW_ASSERT(created);
    listener = std::move(*created);
    for (std::size_t i = 0; i < options.reactors; ++i) {
        backends[i]->attach(listener->reactor(i));
    }
    runner->start();
    listener->start();
}

ListenerRig::~ListenerRig() {
    listener->stop();
    runner->stop();
}

Result<TestClient> ListenerRig::session(std::uint8_t seed, std::size_t disks, std::uint64_t boot) {
    CW_TRY_ASSIGN(TestClient client, TestClient::replicate(port(), certificates().machine(seed)));
    CW_TRY(client.hello(plain_hello(disks, boot)));
    return client;
}

void ListenerRig::ring() {
    runner->doorbell().ring();
}

bool eventually(const std::function<bool()>& claim) {
    for (int i = 0; i < 5000; ++i) {
        if (claim()) {
            return true;
        }
        (void)::poll(nullptr, 0, 2);
    }
    return false;
}

}  // namespace cw::test
