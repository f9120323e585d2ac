"""What people call a program that they started with this command line."""

import shlex

import pytest

from otel_ebpf.enrich.naming import program_name


@pytest.mark.parametrize(
    ("executable", "command_line", "name"),
    [
        ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
        ("/usr/bin/python3.11", "python3 /srv/app.py --port 80", "app"),
        ("/usr/bin/python3.11", "python3 -u -W ignore -X dev app.py", "app"),
        ("/usr/bin/python3.11", "python3 -m http.server 8000", "http.server"),
        ("/usr/bin/python3.11", "python3 -m uvicorn shop.web:app", "uvicorn"),
        ("/usr/bin/python3.11", "/srv/venv/bin/python3 /srv/venv/bin/gunicorn shop:app -w 4", "gunicorn"),
        ("/usr/bin/python3.11", "'gunicorn: master [shop:app]' '' '' ''", "gunicorn"),
        ("/usr/bin/python3.11", "python3 -c 'print(1)'", "python3.11"),
        ("/usr/bin/python3.11", "python3", "python3.11"),
        ("/usr/bin/python3.11", "python3 /srv/shop/__main__.py", "shop"),
        ("/usr/bin/python3.13t", "python3.13t app.pyz", "app"),
        ("/usr/bin/node", "node --max-old-space-size=512 -r dotenv/config server.js", "server"),
        ("/usr/bin/node", "node /srv/shop/index.js", "shop"),
        ("/usr/bin/node", "node index.js", "workdir"),
        ("/usr/bin/node", "node -e 'x()'", "node"),
        ("/usr/lib/jvm/bin/java", "java -Xmx1g -Dx=y -jar /srv/shop-1.2.jar --port 80", "shop-1.2"),
        ("/usr/lib/jvm/bin/java", "java -cp /a.jar:/b.jar org.example.Main", "org.example.Main"),
        ("/usr/lib/jvm/bin/java", "java --add-modules jdk.httpserver Hello.java", "Hello"),
        ("/usr/lib/jvm/bin/java", "java -m shop/org.example.Main", "org.example.Main"),
        ("/usr/lib/jvm/bin/java", "java --module=shop/org.example.Main", "org.example.Main"),
        ("/usr/bin/ruby3.1", "ruby -I lib bin/puma -p 80", "puma"),
        ("/usr/bin/php8.2", "php -S 0.0.0.0:80", "php8.2"),
        ("/usr/bin/dotnet", "dotnet /srv/Shop.Api.dll", "Shop.Api"),
        ("/usr/local/bin/shop", "shop serve", "shop"),
        ("/usr/bin/nodemon-like", "nodemon-like x.js", "nodemon-like"),
        ("", "", ""),
    ],
)
def test_program(executable: str, command_line: str, name: str) -> None:
    assert program_name(executable, shlex.split(command_line), "/srv/workdir").name == name


def test_runtime_and_language_of_what_is_interpreted() -> None:
    python = program_name("/usr/bin/python3", ["python3", "a.py"])
    assert (python.language, python.runtime) == ("python", "cpython")
    nginx = program_name("/usr/sbin/nginx", ["nginx"])
    assert (nginx.language, nginx.runtime) == ("", "")
