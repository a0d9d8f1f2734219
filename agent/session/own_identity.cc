#include "agent/session/own_identity.h"

#include "base/crypto.h"

#include <algorithm>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace cw::agent {
namespace {

struct FreeNames {
    void operator()(GENERAL_NAMES* names) const noexcept { GENERAL_NAMES_free(names); }
};

}  // namespace

Result<MachineId> own_machine_id(const TlsFiles& files) {
    CW_TRY_ASSIGN(const TlsContext context, TlsContext::client(files));
    X509* const leaf = SSL_CTX_get0_certificate(context.get());
    const std::unique_ptr<GENERAL_NAMES, FreeNames> names(static_cast<GENERAL_NAMES*>(
        leaf == nullptr ? nullptr
                        : X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type != GEN_URI) {
            continue;
        }
        const ASN1_IA5STRING* const uri = name->d.uniformResourceIdentifier;
        const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                                    static_cast<std::size_t>(ASN1_STRING_length(uri)));
        CW_TRY_ASSIGN(const Identity identity, parse_identity(text));
        if (identity.role != Role::machine) {
            return fail(Errc::identity_refused, files.cert_file + " is of " + to_string(identity));
        }
        return MachineId{identity.id};
    }
    return fail(Errc::identity_refused, files.cert_file + " names no machine");
}

DiskId disk_id_of(const MachineId& machine, std::string_view disk_name) {
    Sha256Stream hash;
    hash.update(as_bytes("causeway disk"));
    hash.update(machine.bytes);
    hash.update(as_bytes(disk_name));
    const Sha256 digest = hash.finish();
    DiskId id;
    std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
    // RFC 9562 version 8 (made by the application), variant 10.
    id.bytes[6] = (id.bytes[6] & std::byte{0x0f}) | std::byte{0x80};
    id.bytes[8] = (id.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    return id;
}

}  // namespace cw::agent
