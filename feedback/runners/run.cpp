#include <sys/wait.h>
#include <unistd.h>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>
#define main adi_program_main
#include ADI_FILE
#undef main

namespace adi_examples {
static int failed = 0;
template <class A, class B> bool same(const A& a, const B& b) {
    if constexpr (std::is_floating_point_v<A> && std::is_arithmetic_v<B>) {
        return a == b || std::fabs(double(a) - double(b)) <= 1e-6 * std::fmax(1e-3, std::fabs(double(b)));
    } else {
        return a == b;
    }
}
template <class T> bool same(const std::vector<T>& a, const std::vector<T>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); i++) if (!same(T(a[i]), T(b[i]))) return false;
    return true;
}
template <class T> void put(std::ostream& out, const T&, ...) { out << "another value"; }
template <class T> auto put(std::ostream& out, const T& value, int) -> decltype(out << value, void()) { out << value; }
template <class T> auto put(std::ostream& out, const T& value, long) -> decltype(value.begin(), void()) {
    out << "{";
    const char* between = "";
    for (const auto& item : value) { out << between; put(out, item, 0); between = ", "; }
    out << "}";
}
template <class F> void example(int number, const char* label, const char* wanted, F check) {
    std::fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        std::ostringstream told;
        told << std::boolalpha;
        alarm(4);
        bool right = false;
        try { right = check(told); }
        catch (const std::exception& error) { told.str(""); told << "threw " << error.what(); }
        catch (...) { told.str(""); told << "threw something"; }
        std::string text = told.str().substr(0, 300);
        for (char& c : text) if (c == '\n') c = ' ';
        if (right) std::printf("\nok %d - %s\n", number, label);
        else std::printf("\nnot ok %d - %s # expected %s, %s\n", number, label, wanted, text.c_str());
        std::fflush(stdout);
        _exit(right ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        const char* why = WTERMSIG(status) == SIGALRM ? "it did not end within 4 s" : "it crashed";
        std::printf("not ok %d - %s # expected %s, %s\n", number, label, wanted, why);
    }
    if (status != 0) failed++;
}
}  // namespace adi_examples

int main() {
//EXAMPLES
    return adi_examples::failed ? 1 : 0;
}
