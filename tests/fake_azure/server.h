// The sockets of the fake: one thread per connection, request bodies streamed through CRC-64,
// faults applied around the service.
#pragma once

#include "tests/fake_azure/connection.h"
#include "tests/fake_azure/fake_azure.h"
#include "tests/fake_azure/service.h"

#include <condition_variable>
#include <list>
#include <thread>

namespace cw::fake_azure {

class FakeAzure::Server {
public:
    explicit Server(FakeAzureOptions options);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    FakeAzureOptions options;
    FakeTime time;
    FaultPlan faults;
    Authentication authentication{test_account, test_key};
    Service service{time};
    std::uint16_t port = 0;

    FakeStats stats();
    void reset_stats();

private:
    struct Peer {
        std::unique_ptr<Connection> connection;
        std::thread thread;
        std::atomic<bool> finished{false};
    };
    struct LatePut {
        std::int64_t due_ns;
        Operation operation;
        Request request;
    };
    // What reading one request needs and the next can reuse.
    struct Session {
        Connection& connection;
        ByteVector head;  // Bytes read beyond what has been used.
        std::size_t used = 0;
        Buffer scratch{1 << 20};
    };

    void accept_loop();
    void reap(bool all);
    void serve(Connection& connection);
    // False: the connection ends.
    bool serve_one(Session& session);
    std::optional<Request> read_head(Session& session);
    bool read_body(Session& session, Request& request, std::uint64_t length);
    bool discard_body(Session& session, std::uint64_t length);
    static std::size_t read_some(Session& session, std::byte* out, std::size_t size);
    void locate(Request& request) const;

    bool answer(Session& session, Request& request);
    // Nothing: the connection ends without a reply.
    std::optional<Reply> run(Operation operation, Request& request, const FaultRule& fault);
    Reply execute(Operation operation, Request& request);
    std::optional<Reply> control(const Request& request);
    std::optional<Reply> identity(const Request& request);
    Reply token_reply();
    // Appends to the file of options.received_file, if there is one.
    void note_received(const Request& request);
    void land_late();
    bool send(Session& session, const Request& request, const Reply& reply, bool truncate);
    void hang();
    void pause(std::int64_t ms);
    void count(std::string_view op, const Reply* reply);
    // One more, or one less, that is being answered.
    void note_begin(const std::string& kind);
    void note_end(const std::string& kind);

    struct ContextFree {
        void operator()(SSL_CTX* context) const noexcept;
    };
    std::unique_ptr<SSL_CTX, ContextFree> context_;
    Fd listener_;
    std::thread acceptor_;
    std::atomic<bool> stopping_{false};
    std::mutex mutex_;
    std::condition_variable stopped_;
    std::list<Peer> peers_;
    std::list<LatePut> late_;
    FakeStats stats_;
    std::map<std::string, std::uint64_t> in_progress_;
    std::atomic<std::uint64_t> bytes_in_{0}, bytes_out_{0}, connections_{0}, next_id_{1};
};

}  // namespace cw::fake_azure
