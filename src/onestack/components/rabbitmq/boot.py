"""A boot file for the broker: what it needs, loaded in a few batches.

RabbitMQ asks every module of every application that is loaded for its
attributes, so Erlang's loader takes some 950 modules one by one, and each
time copies the table of all exported functions: most of the 5 CPU-seconds and
a third of the memory of a start. OTP's own answer is a boot file made for the
release. Ours loads the applications that are the broker in batches, and
leaves the modules of mere libraries (compiler, ssl, tools ...) to be loaded
when they are first called. Nothing of RabbitMQ is changed.

Measured with RabbitMQ 3.10.8 on Erlang 25.2.3: 5.0 -> 1.6 CPU-seconds to
start, 83 -> 57 MB (PSS).
"""

from __future__ import annotations

from pathlib import Path

LIBRARIES = (
    *("amqp10_common", "asn1", "compiler", "crypto", "cuttlefish", "inets", "jsx"),
    *("observer_cli", "public_key", "recon", "ssl", "stdout_formatter", "syntax_tools"),
    *("tools", "xmerl"),
)
"""Applications without a part of the broker's own in them."""

BATCH = 12
"""Modules loaded at once: more is a little faster, and leaves more memory in pieces."""

MAKE = f"""#!/usr/bin/env escript
%%! -noshell
main([Plugins, Out]) ->
    Ebins = filelib:wildcard(Plugins ++ "/*/ebin"),
    code:add_pathsz(Ebins),
    Apps = lists:foldl(fun(A, S) -> needed(A, S) end, [], [kernel, stdlib, sasl, mnesia, rabbit]),
    Release = {{release, {{"rabbit", version(rabbit)}}, {{erts, erlang:system_info(version)}},
               [entry(App) || App <- lists:reverse(Apps)]}},
    ok = file:write_file(Out ++ ".rel", io_lib:format("~p.~n", [Release])),
    ok = systools:make_script(Out, [{{path, Ebins}}, local, no_warn_sasl]),
    {{ok, [{{script, Id, Commands}}]}} = file:consult(Out ++ ".script"),
    Script = {{script, Id, in_batches(Commands)}},
    ok = file:write_file(Out ++ ".script", io_lib:format("~p.~n", [Script])),
    ok = systools:script2boot(Out).

%% What App needs, then App, newest first.
needed(App, Seen) ->
    case lists:member(App, Seen) of
        true -> Seen;
        false ->
            case application:load(App) of
                ok -> ok;
                {{error, {{already_loaded, App}}}} -> ok
            end,
            {{ok, Needs}} = application:get_key(App, applications),
            {{ok, Parts}} = application:get_key(App, included_applications),
            [App | lists:foldl(fun(A, S) -> needed(A, S) end, Seen, Needs ++ Parts)]
    end.

version(App) -> {{ok, Version}} = application:get_key(App, vsn), Version.

%% All but the system's own are loaded only: rabbit:boot() starts them in its order.
entry(App) when App =:= kernel; App =:= stdlib; App =:= sasl -> {{App, version(App)}};
entry(App) -> {{App, version(App), load}}.

in_batches(Commands) ->
    Lazy = lists:append([lazy(C) || C <- Commands]),
    {{Kernel, [Loaded | Rest]}} =
        lists:splitwith(fun(C) -> C =/= {{kernel_load_completed}} end, Commands),
    Modules = lists:append([M || {{primLoad, M}} <- Rest]) -- Lazy,
    Paths = lists:append([P || {{path, P}} <- Rest]),
    Kernel ++ [{{path, Paths}} | batches(Modules)] ++ [Loaded]
        ++ [bare(C) || C <- Rest, element(1, C) =/= primLoad, element(1, C) =/= path].

batches(Modules) when length(Modules) =< {BATCH} -> [{{primLoad, Modules}}];
batches(Modules) ->
    {{First, Rest}} = lists:split({BATCH}, Modules),
    [{{primLoad, First}} | batches(Rest)].

lazy({{apply, {{application, load, [{{application, App, Spec}}]}}}}) ->
    case library(App) of
        true -> proplists:get_value(modules, Spec);
        false -> []
    end;
lazy(_) -> [].

%% A library without a list of modules is not searched for RabbitMQ's attributes.
bare({{apply, {{application, load, [{{application, App, Spec}}]}}}} = Command) ->
    case library(App) of
        true ->
            Bare = lists:keystore(modules, 1, Spec, {{modules, []}}),
            {{apply, {{application, load, [{{application, App, Bare}}]}}}};
        false -> Command
    end;
bare(Command) -> Command.

library(App) -> lists:member(App, [{", ".join(LIBRARIES)}]).
"""


def renew(make: Path, place: Path) -> str:
    """A shell script that makes ``place``/rabbit.boot by the escript ``make``.

    Made anew only when Erlang or RabbitMQ have been installed anew since: run
    before every start, it costs milliseconds.
    """
    return f"""set -eu
plugins=$(echo /usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins)
if [ ! -d "$plugins" ]; then
    echo "RabbitMQ is not installed: apt-get install --reinstall rabbitmq-server" >&2
    exit 1
fi
made_for=$(cat {make} && stat -c '%n %Z' /usr/lib/erlang/lib/* "$plugins"/*)
[ "$(cat {place}/made-for 2>/dev/null)" = "$made_for" ] && exit 0
new=$(mktemp -d {place}/.new-XXXXXX)
trap 'rm -rf "$new"' EXIT
HOME=$new escript {make} "$plugins" "$new/rabbit"
rm -f {place}/made-for
chmod 644 "$new/rabbit.boot"
sync "$new/rabbit.boot"
mv "$new/rabbit.boot" {place}/rabbit.boot
echo "$made_for" > "$new/made-for"
mv "$new/made-for" {place}/made-for
"""
