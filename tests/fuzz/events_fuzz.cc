// A line of the history of conditions: as it is, and with its checksum made right.
#include "appliance/event_line.h"
#include "base/assert.h"
#include "base/checksum.h"

#include <cstdio>

namespace {

void check(std::string_view line) {
    const auto event = cw::appliance::parse_event_line(line);
    if (!event) {
        return;
    }
    // Written again it says the same, in one line without a control character.
    std::string again = cw::appliance::event_line(*event);
    CW_ASSERT(again.size() <= cw::appliance::event_line_max && again.ends_with('\n'));
    again.pop_back();
    CW_ASSERT(again.find('\n') == std::string::npos && again.find('\0') == std::string::npos);
    const auto read = cw::appliance::parse_event_line(again);
    CW_ASSERT(read && read->raised == event->raised && read->at == event->at);
    const std::string &subject = read->condition.subject, &before = event->condition.subject;
    CW_ASSERT(subject == before.substr(0, cw::appliance::event_subject_max));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const cw::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    const std::string_view text = cw::as_text(bytes);
    check(text);
    char checksum[10];
    std::snprintf(checksum, sizeof checksum, "%08x ", cw::crc32c(bytes));
    check(std::string(checksum) + std::string(text));
    return 0;
}
