// What is asked of a running agent: `status`, `point`, `stop`, `resize`.
#pragma once

#include <memory>
#include <string>

namespace CLI {
class App;
}

namespace cw::agent {

struct AskCommand {
    std::string name, socket, request;
    int timeout_ms = 0;
    bool json = false;
};

// Adds the verbs. `finish`, after parsing one of them, makes a command of what was said.
class AskCommandLine {
public:
    explicit AskCommandLine(CLI::App& app);
    ~AskCommandLine();
    // Throws CLI::ParseError.
    AskCommand finish();

private:
    struct Text;  // Options as they were written.

    CLI::App& app_;
    AskCommand command_;
    std::unique_ptr<Text> text_;
};

// Prints the agent's answer for people or as JSON; returns the exit code.
int print_answer(const AskCommand& command, const std::string& answer);

}  // namespace cw::agent
