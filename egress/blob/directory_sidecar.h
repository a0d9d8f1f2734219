// The small text files beside a directory vault's objects: their metadata.
//
// An object's bytes stay a plain file. Its metadata lies in a sidecar that lists, for at most two
// versions of the object, the version's etag and its pairs: an overwrite first writes a sidecar
// naming the old and the new version, then replaces the object, so that a crash between the two
// leaves an object whose metadata is still found.
//
//     causeway-metadata 1
//     version 18a2f…-400
//     nonce=6ba7…
//     version 18a2f…-3ff
//     nonce=77c1…
#pragma once

#include "egress/blob/store.h"

namespace cw::blob {

struct MetadataVersion {
    std::string etag;
    Metadata metadata;
};

std::string encode_metadata(const std::vector<MetadataVersion>& versions);
// Errors: object_corrupt.
Result<std::vector<MetadataVersion>> decode_metadata(std::string_view text);
// The metadata of the version `etag`, and of no other: metadata carries the writer's nonce, and one
// writer's nonce beside another's object would tell a loser that it won. So a vault copied without
// its timestamps, whose etags differ, has no metadata; nothing needs it to read.
Metadata metadata_of(const std::vector<MetadataVersion>& versions, std::string_view etag);

}  // namespace cw::blob
