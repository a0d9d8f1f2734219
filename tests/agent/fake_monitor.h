// A monitor that says what its script says: one client after the other, on a thread of its own.
#pragma once

#include "base/bytes.h"
#include "base/net.h"

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cw::agent::test {

class FakeMonitor {
public:
    // What is sent for a line that came. "$ID" in it becomes the command's number.
    using Answer = std::function<std::string(const std::string& line)>;
    // `greeting` is sent to each client at once; empty: silence.
    FakeMonitor(std::string path, std::string greeting, Answer answer);
    ~FakeMonitor();

    [[nodiscard]] std::vector<std::string> lines();

private:
    void serve();
    void talk(int client);
    static std::string number_in(const std::string& line);

    const std::string path_, greeting_;
    const Answer answer_;
    Fd listener_;
    std::atomic<bool> stop_{false};
    std::mutex mutex_;
    std::vector<std::string> lines_;
    std::thread thread_;
};

}  // namespace cw::agent::test
