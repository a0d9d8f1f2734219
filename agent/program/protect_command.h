// The words of `causeway-agent protect`.
#pragma once

#include "agent/agent.h"

#include <memory>
#include <string>

namespace CLI {
class App;
}

namespace cw::agent {

struct ProtectCommand {
    AgentOptions options;
    std::string log_level = "info";
    bool progress = false, json = false;
    bool enrolled = false;             // Its certificate is renewed while it runs:
    std::int64_t renew_before_ns = 0;  // when it is valid for less; 0: a third of its time.
};

// Adds `protect`. `finish`, after parsing, makes a command of what was said.
class ProtectCommandLine {
public:
    explicit ProtectCommandLine(CLI::App& app);
    ~ProtectCommandLine();
    [[nodiscard]] bool parsed() const;
    // Throws CLI::ParseError.
    ProtectCommand finish();

private:
    struct Text;  // Options as they were written.

    void add_identity();
    void add_sources();
    void add_consistency();
    void add_queues();
    void add_group();
    void finish_identity();
    void finish_snapshots();
    void finish_disks();
    void finish_group();

    CLI::App& app_;
    ProtectCommand command_;
    std::unique_ptr<Text> text_;
};

}  // namespace cw::agent
