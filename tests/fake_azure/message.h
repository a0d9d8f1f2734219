// A request as it came over the wire and the reply that goes back.
#pragma once

#include "base/bytes.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cw::fake_azure {

// Body bytes without the cost of zeroing them first.
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t size) : bytes_(new std::byte[size]), size_(size) {}
    [[nodiscard]] std::byte* data() noexcept { return bytes_.get(); }
    [[nodiscard]] Bytes view() const noexcept { return {bytes_.get(), size_}; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    std::unique_ptr<std::byte[]> bytes_;
    std::size_t size_ = 0;
};
// Shared by the stored object and the replies that are sending it.
using Content = std::shared_ptr<const Buffer>;

struct Request {
    std::string method;
    std::string raw_path;                                    // As sent, still encoded.
    std::vector<std::pair<std::string, std::string>> query;  // Decoded; names in lower case.
    std::map<std::string, std::string> headers;              // Names in lower case.
    std::uint64_t content_length = 0;
    bool has_length = false;
    bool tls = false;
    Content body;                // Null when discarded.
    std::uint64_t body_crc = 0;  // CRC-64 of the body; set when a checksum or fault needs it.
    bool damaged = false;        // A fault changed the body: its checksum is past checking.
    std::string account, container, blob;  // Decoded parts of the path.

    [[nodiscard]] std::string_view header(std::string_view name) const;
    [[nodiscard]] bool has(std::string_view name) const;
    [[nodiscard]] std::string_view parameter(std::string_view name) const;
};

struct Reply {
    int status = 200;
    std::string code;  // x-ms-error-code; also makes the XML body, with these words in it:
    std::string message = "As scripted or deserved.";
    std::vector<std::pair<std::string, std::string>> headers;
    std::string text;  // A body made here ...
    Content content;   // ... or one from the store, [offset, offset + length).
    std::uint64_t offset = 0, length = 0;
    bool from_service = true;  // false: without any x-ms header, as a middlebox would answer.
    bool close = false;        // Ends the connection afterwards.

    Reply() = default;
    explicit Reply(int s) : status(s) {}
    Reply(int s, std::string c) : status(s), code(std::move(c)) {}
    Reply& with(std::string name, std::string value) {
        headers.emplace_back(std::move(name), std::move(value));
        return *this;
    }
};

// Parses "GET /p?q HTTP/1.1\r\n…\r\n\r\n". Nothing: malformed.
std::optional<Request> parse_head(std::string_view head);
std::optional<std::string> percent_decode(std::string_view text);
std::string xml_escape(std::string_view text);

}  // namespace cw::fake_azure
