// Bodies that an object store, or whoever poses as one, may send: listings, errors, tokens; and the
// sidecar files of a directory vault.
#include "base/assert.h"
#include "egress/blob/azure_xml.h"
#include "egress/blob/directory_sidecar.h"
#include "egress/blob/token_source.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace {

using namespace cw;
using namespace cw::blob;

void check_sidecars(std::string_view text) {
    if (const auto versions = decode_metadata(text)) {
        CW_ASSERT(versions->size() <= 2);
        const auto again = decode_metadata(encode_metadata(*versions));
        CW_ASSERT(again && again->size() == versions->size());
        CW_ASSERT(metadata_of(*versions, "none has this etag").empty());
        for (std::size_t i = 0; i < versions->size(); ++i) {
            CW_ASSERT((*again)[i].etag == (*versions)[i].etag);
            CW_ASSERT((*again)[i].metadata == (*versions)[i].metadata);
            const Metadata found = metadata_of(*versions, (*versions)[i].etag);
            CW_ASSERT(found == (*versions)[0].metadata || i > 0);
        }
    }
}

// A directory as that of the Arc agent, with one key in it; gone with the process.
class KeyDirectory {
public:
    KeyDirectory() {
        std::string pattern = std::filesystem::temp_directory_path() / "cw-fuzz-XXXXXX";
        CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
        std::ofstream(path_ + "/sound.key") << key;
        std::ofstream(path_ + "/empty.key") << "";
        std::ofstream(path_ + "/large.key") << std::string(5000, 'k');
    }
    ~KeyDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    KeyDirectory(const KeyDirectory&) = delete;
    KeyDirectory& operator=(const KeyDirectory&) = delete;
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    static constexpr std::string_view key = "secret";

private:
    std::string path_;
};

// The reply to one attempt: a token only out of a whole answer with status 200.
void check_reply(TokenAttempt& attempt, const HttpReply& reply, bool refusal_is_final) {
    const HttpRequest request = attempt.request();
    CW_ASSERT(request.origin.starts_with("http") && request.path.starts_with('/'));
    const auto token = attempt.take(reply, Nanos{0});
    const bool whole = reply.transport == Transport::answered;
    if (!token) {
        CW_ASSERT(token.error().code == Errc::blob_auth ||
                  token.error().code == Errc::blob_unavailable);
        CW_ASSERT(whole || token.error().code == Errc::blob_unavailable);
        return;
    }
    CW_ASSERT(whole && (*token ? reply.status == 200 : !refusal_is_final));
}

// What an identity endpoint answers: u8 status, a body. Arc's first asks for a file by name.
void check_sources(std::uint8_t status, Bytes body) {
    static const KeyDirectory keys;
    static const auto managed = make_managed_identity_source("http://169.254.169.254", "me");
    static const auto secret = make_client_secret_source("https://login.example", "tenant",
                                                         "client", Secret<std::string>("secret"));
    static const auto arc = make_arc_source("http://127.0.0.1:40342/token", keys.path());
    HttpReply reply;
    reply.transport = status == 0 ? Transport::in_doubt : Transport::answered;
    reply.status = status % 8 == 0 ? 200 : 400 + status % 128;
    reply.body.assign(body.begin(), body.end());
    check_reply(*managed->begin(), reply, true);
    check_reply(*secret->begin(), reply, true);

    const auto attempt = arc->begin();
    HttpReply challenge{.transport = Transport::answered, .status = 401};
    std::string file(as_text(body.first(std::min<std::size_t>(body.size(), 64))));
    std::erase_if(file, [](char c) { return c <= ' ' || c >= 0x7f; });
    const std::string path = (file.starts_with('/') ? "" : keys.path() + "/") + file;
    challenge.headers = {{"www-authenticate", "Basic realm=" + path}};
    check_reply(*attempt, challenge, false);
    const HttpRequest answer = attempt->request();
    const bool sound = path == keys.path() + "/sound.key";
    CW_ASSERT(answer.authorization.reveal() ==
              (sound ? "Basic " + std::string(KeyDirectory::key) : std::string()));
    check_reply(*attempt, reply, true);  // Who challenges twice is refused.
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    if (const auto page = parse_list(bytes)) {
        CW_ASSERT(std::ranges::is_sorted(page->entries, {}, &ListPage::Entry::name));
        CW_ASSERT(
            std::ranges::none_of(page->entries, [](const auto& e) { return e.name.empty(); }));
    }
    constexpr std::uint64_t offset = 4096, length = 1 << 20;
    if (const auto page = parse_page_list(bytes, offset, length)) {
        std::uint64_t seen = offset;
        for (const PageRange& range : page->ranges) {
            CW_ASSERT(range.offset >= seen && range.length > 0);
            seen = range.offset + range.length;
        }
        CW_ASSERT(seen <= offset + length);
    }
    CW_ASSERT(parse_error_code(bytes).size() <= 128);
    if (const auto token = parse_token(bytes, Nanos{0})) {
        CW_ASSERT(!token->value.reveal().empty());
        CW_ASSERT(token->expires > Nanos{0} && token->refresh <= token->expires);
        // It goes into a header: nothing in it may end that header.
        CW_ASSERT(token->value.reveal().find_first_of("\r\n ") == std::string::npos);
    }
    check_sidecars(as_text(bytes));
    if (!bytes.empty()) {
        check_sources(std::to_integer<std::uint8_t>(bytes.front()), bytes.subspan(1));
        check_sources(8, bytes);
    }
    return 0;
}
