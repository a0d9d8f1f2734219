// The stored form of a MachineRecord: flat, length-checked; RECORDS.md.
#include "appliance/operator/machine_state.h"
#include "base/assert.h"

#include <algorithm>

namespace cw::appliance {
namespace {

// Version 2 has the disks that a failback has touched, version 3 also what jobs know beyond texts.
constexpr std::uint16_t first_version = 1, returned_version = 2, jobs_version = 3;
constexpr std::size_t host_name_max = 255;

void put_time(ByteAppender& out, WallMicros time) {
    out.u64(static_cast<std::uint64_t>(raw(time)));
}

Result<WallMicros> take_time(ByteReader& in) {
    CW_TRY_ASSIGN(const std::uint64_t value, in.u64());
    return WallMicros{static_cast<std::int64_t>(value)};
}

Result<MachineState> take_state(ByteReader& in) {
    CW_TRY_ASSIGN(const std::uint8_t value, in.u8());
    if (value < raw(MachineState::protected_) || value > raw(MachineState::failed_back)) {
        return fail(Errc::format_unsupported, "machine state " + std::to_string(value));
    }
    return MachineState{value};
}

void put_mark(ByteAppender& out, const FileMark& mark) {
    out.u64(mark.device);
    out.u64(mark.inode);
    out.u64(static_cast<std::uint64_t>(mark.time_ns));
    out.u8(mark.named ? 1 : 0);
}

Result<FileMark> take_mark(ByteReader& in) {
    FileMark mark;
    CW_TRY_ASSIGN(mark.device, in.u64());
    CW_TRY_ASSIGN(mark.inode, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t time, in.u64());
    mark.time_ns = static_cast<std::int64_t>(time);
    CW_TRY_ASSIGN(const std::uint8_t named, in.u8());
    if (named > 1) {
        return fail(Errc::format_unsupported, "a file's mark of kind " + std::to_string(named));
    }
    mark.named = named == 1;
    return mark;
}

void put_job(ByteAppender& out, const Job& job) {
    out.bytes(job.id.bytes);
    out.u8(raw(job.verb));
    out.u8(raw(job.state));
    out.bytes(job.holder.host);
    out.u64(job.holder.pid);
    out.u64(job.holder.started);
    out.text16(cut_text(job.holder.host_name, host_name_max));
    put_time(out, job.started);
    put_time(out, job.updated);
    out.bytes(job.point.bytes);
    put_time(out, job.point_time);
    out.text16(cut_text(job.step));
    out.u64(job.done);
    out.u64(job.total);
    out.u16(job.error);
    out.text16(cut_text(job.detail));
    out.text16(cut_text(job.advice));
    CW_ASSERT(job.plan_run.size() <= plan_run_max && job.whole.size() <= marks_max);
    out.text16(job.plan_run);
    out.u8(job.in_place ? 1 : 0);
    out.u16(static_cast<std::uint16_t>(job.whole.size()));
    for (const FileMark& mark : job.whole) {
        put_mark(out, mark);
    }
}

// What version 3 has more of a job.
Result<void> take_job_facts(ByteReader& in, Job& job) {
    CW_TRY_ASSIGN(job.advice, in.text16(job_text_max));
    CW_TRY_ASSIGN(job.plan_run, in.text16(plan_run_max));
    CW_TRY_ASSIGN(const std::uint8_t in_place, in.u8());
    if (in_place > 1) {
        return fail(Errc::format_unsupported, "a failover of kind " + std::to_string(in_place));
    }
    job.in_place = in_place == 1;
    CW_TRY_ASSIGN(const std::uint16_t marks, in.u16());
    if (marks > marks_max) {
        return fail(Errc::object_corrupt, std::to_string(marks) + " files of a job");
    }
    for (std::uint16_t i = 0; i < marks; ++i) {
        CW_TRY_ASSIGN(const FileMark mark, take_mark(in));
        job.whole.push_back(mark);
    }
    return {};
}

Result<Job> take_job(ByteReader& in, std::uint16_t version) {
    Job job;
    CW_TRY_ASSIGN(job.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint8_t verb, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t state, in.u8());
    if (verb < raw(Verb::failover) || verb > raw(Verb::undo) || state < raw(JobState::running) ||
        state > raw(JobState::interrupted)) {
        return fail(Errc::format_unsupported, "a job of another kind");
    }
    job.verb = Verb{verb};
    job.state = JobState{state};
    CW_TRY_ASSIGN(job.holder.host, in.array<16>());
    CW_TRY_ASSIGN(job.holder.pid, in.u64());
    CW_TRY_ASSIGN(job.holder.started, in.u64());
    CW_TRY_ASSIGN(job.holder.host_name, in.text16(host_name_max));
    CW_TRY_ASSIGN(job.started, take_time(in));
    CW_TRY_ASSIGN(job.updated, take_time(in));
    CW_TRY_ASSIGN(job.point.bytes, in.array<16>());
    CW_TRY_ASSIGN(job.point_time, take_time(in));
    CW_TRY_ASSIGN(job.step, in.text16(job_text_max));
    CW_TRY_ASSIGN(job.done, in.u64());
    CW_TRY_ASSIGN(job.total, in.u64());
    CW_TRY_ASSIGN(job.error, in.u16());
    CW_TRY_ASSIGN(job.detail, in.text16(job_text_max));
    if (version >= jobs_version) {
        CW_TRY(take_job_facts(in, job));
    }
    return job;
}

}  // namespace

ByteVector encode_machine_record(const MachineRecord& record) {
    CW_ASSERT(record.jobs.size() <= jobs_max);
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u16(jobs_version);
    out.u64(record.revision);
    out.u8(raw(record.state));
    out.u8(raw(record.before));
    out.bytes(record.point.bytes);
    put_time(out, record.point_time);
    out.bytes(record.point_before.bytes);
    put_time(out, record.point_time_before);
    out.u64(record.manifest);
    out.bytes(record.proven.bytes);
    put_time(out, record.proven_time);
    put_time(out, record.proven_at);
    out.u16(static_cast<std::uint16_t>(record.jobs.size()));
    for (const Job& job : record.jobs) {
        put_job(out, job);
    }
    out.u8(raw(record.away));
    put_returned_disks(out, record.returned);
    out.u16(record.targets_made);
    return bytes;
}

Result<MachineRecord> decode_machine_record(Bytes payload) {
    ByteReader in(payload, Errc::object_corrupt);
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    if (version < first_version || version > jobs_version) {
        return fail(Errc::format_unsupported, "machine record version " + std::to_string(version));
    }
    MachineRecord record;
    CW_TRY_ASSIGN(record.revision, in.u64());
    CW_TRY_ASSIGN(record.state, take_state(in));
    CW_TRY_ASSIGN(record.before, take_state(in));
    CW_TRY_ASSIGN(record.point.bytes, in.array<16>());
    CW_TRY_ASSIGN(record.point_time, take_time(in));
    CW_TRY_ASSIGN(record.point_before.bytes, in.array<16>());
    CW_TRY_ASSIGN(record.point_time_before, take_time(in));
    CW_TRY_ASSIGN(record.manifest, in.u64());
    CW_TRY_ASSIGN(record.proven.bytes, in.array<16>());
    CW_TRY_ASSIGN(record.proven_time, take_time(in));
    CW_TRY_ASSIGN(record.proven_at, take_time(in));
    CW_TRY_ASSIGN(const std::uint16_t count, in.u16());
    if (count > jobs_max) {
        return fail(Errc::object_corrupt, std::to_string(count) + " jobs in a machine record");
    }
    for (std::uint16_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(Job job, take_job(in, version));
        record.jobs.push_back(std::move(job));
    }
    if (version >= returned_version) {
        CW_TRY_ASSIGN(record.away, take_state(in));
        CW_TRY_ASSIGN(record.returned, take_returned_disks(in));
    }
    if (version >= jobs_version) {
        CW_TRY_ASSIGN(record.targets_made, in.u16());
    }
    if (!in.at_end()) {
        return fail(Errc::object_corrupt, "the machine record has the wrong length");
    }
    return record;
}

}  // namespace cw::appliance
