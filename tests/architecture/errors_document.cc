#include "tests/architecture/errors_document.h"

#include "base/error.h"

#include <string_view>

namespace cw::architecture {
namespace {

struct Group {
    unsigned first;
    std::string_view title;
};
constexpr Group groups[] = {
    {1000, "1xxx: disk and cache"}, {2000, "2xxx: object store"}, {3000, "3xxx: protocol"},
    {4000, "4xxx: vault"},          {5000, "5xxx: recovery"},     {6000, "6xxx: configuration"},
    {7000, "7xxx: agent"},          {8000, "8xxx: security"},     {9000, "9xxx: the process"},
};

constexpr Errc all_codes[] = {
#define CW_ERROR(code, number, action, klass, text, next) Errc::code,
#include "base/errors.def"
#undef CW_ERROR
};

constexpr std::string_view introduction =
    R"(<!-- Generated from base/errors.def by: architecture_test --update-docs. Do not edit. -->
# Errors

Every error has a stable code and number, in logs, in metrics (`causeway_conditions{code}`), in JSON and on the
screen; with it come the cause, the evidence of the case at hand and the next step.

*Action* is what the program does by itself: **retry** with growing pauses, **throttle** and go on, **reauth** with a
fresh credential, **repair** from the other copy, **fenced** (another server owns the machine: stop writing), **stop**.
An *unrecoverable* error is never retried: the state becomes Critical and a person is asked.
)";

std::string cell(std::string_view text) {
    std::string out;
    for (const char c : text) {
        out += c == '|' ? "\\|" : std::string(1, c);
    }
    return out;
}

std::string row(Errc code) {
    std::string out = "| `" + std::string(name_of(code)) + "` | ";
    out += std::to_string(static_cast<unsigned>(code)) + " | ";
    out += std::string(name_of(action_of(code))) + " | ";
    out += class_of(code) == ErrorClass::recoverable ? "recoverable | " : "unrecoverable | ";
    out += cell(cause_of(code)) + " | " + cell(next_of(code)) + " |\n";
    return out;
}

}  // namespace

std::string errors_document() {
    std::string out(introduction);
    for (const Group& group : groups) {
        out += "\n## " + std::string(group.title) + "\n\n";
        out += "| code | number | action | class | cause | next step |\n";
        out += "|---|---|---|---|---|---|\n";
        for (const Errc code : all_codes) {
            const auto number = static_cast<unsigned>(code);
            if (number > group.first && number < group.first + 1000) {
                out += row(code);
            }
        }
    }
    return out;
}

}  // namespace cw::architecture
