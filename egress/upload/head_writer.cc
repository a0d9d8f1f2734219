#include "egress/upload/head_writer.h"

#include "egress/vault/names.h"

#include <algorithm>

namespace cw::upload {
namespace {

// Readers walk on from the head.
constexpr std::int64_t head_interval_ns = 10 * ns_per_s;

}  // namespace

HeadWriter::HeadWriter(const vault::VaultIdentity& vault, const vault::ServerSigner& signer,
                       Conditions& conditions, std::uint64_t written)
    : vault_(vault), signer_(signer), conditions_(conditions) {
    note_->number = written;
}

HeadWriter::~HeadWriter() {
    tell(*note_, conditions_, std::nullopt);
    note_->orphaned = true;
}

void HeadWriter::step(blob::BlobStore& store, const vault::ChainState& state, Nanos now) {
    if (!note_->busy && note_->told && note_->number >= state.newest.number) {
        tell(*note_, conditions_, std::nullopt);  // Another server has written it meanwhile.
    }
    if (note_->busy || note_->number >= state.newest.number || now < note_->due) {
        return;
    }
    note_->due = now + head_interval_ns;
    note_->subject = "head of machine " + to_string(state.newest.machine);
    if (note_->known) {
        write(store, state);
    } else {
        look(store, state.newest.machine, now);
    }
}

void HeadWriter::look(blob::BlobStore& store, const MachineId& machine, Nanos now) {
    note_->busy = true;
    store.get({.name = vault::head_blob(machine), .offset = 0, .length = 0, .if_match = {}},
              [note = note_, &vault = vault_, machine, now](const Result<blob::GetResult>& found) {
                  note->busy = false;
                  if (!found && found.error().code != Errc::blob_not_found) {
                      return;  // Looked for again when it is due.
                  }
                  note->known = true;
                  note->etag = found ? found->properties.etag : std::string();
                  note->number = 0;
                  if (found) {
                      const auto head = vault::decode_head(found->bytes, vault, machine);
                      note->number = head ? head->number : 0;
                  }
                  note->due = now;
              });
}

void HeadWriter::write(blob::BlobStore& store, const vault::ChainState& state) {
    const vault::HeadHint head{.number = state.newest.number,
                               .hash = state.hash,
                               .epoch = state.newest.epoch,
                               .writer = state.newest.writer,
                               .server = {}};
    // The bytes live in the callback, which the store keeps until it has run.
    auto bytes =
        std::make_shared<ByteVector>(vault::encode_head(head, state.newest.machine, signer_));
    note_->busy = true;
    note_->known = false;  // Unless all goes well.
    blob::PutRequest request{.name = vault::head_blob(state.newest.machine),
                             .body = {*bytes},
                             .metadata = {},
                             .condition = note_->etag.empty() ? blob::PutCondition::if_absent
                                                              : blob::PutCondition::if_match,
                             .etag = note_->etag};
    store.put(std::move(request), [bytes, note = note_, &conditions = conditions_,
                                   number = head.number](const blob::PutResult& result) {
        note->busy = false;
        tell(*note, conditions, result.error);
        if (result.outcome == blob::PutOutcome::stored) {
            note->known = !result.etag.empty();
            note->etag = result.etag;
            note->number = number;
        }
    });
}

// An outage is told by the store itself, and who lost the condition looks again.
void HeadWriter::tell(Note& note, Conditions& conditions, const std::optional<Error>& trouble) {
    const bool worth = trouble && action_of(trouble->code) != Action::retry &&
                       action_of(trouble->code) != Action::throttle &&
                       trouble->code != Errc::blob_conflict;
    if (note.orphaned || (!worth && trouble)) {
        return;
    }
    if (note.told && (!trouble || trouble->code != *note.told)) {
        conditions.clear(*note.told, note.subject);
        note.told.reset();
    }
    if (trouble) {
        note.told = trouble->code;
        conditions.raise(trouble->code, note.subject, trouble->detail);
    }
}

Nanos HeadWriter::next_deadline(std::uint64_t newest) const {
    return note_->busy || note_->number >= newest ? Nanos{INT64_MAX} : note_->due;
}

}  // namespace cw::upload
